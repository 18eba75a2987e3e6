import fc from 'fast-check'
import { type Container, isContainer, type Members, putMember } from '../../lib/protocol/json.js'
import type { Operation } from '../../lib/protocol/messages.js'
import { escapeToken } from '../../lib/protocol/pointer.js'
import { applyPatch } from '../../lib/protocol/patch.js'

const ordinaryKey = fc.constantFrom('a', 'b', 'c', 'name', 'items')
const hostileKey = fc.oneof(
  ordinaryKey,
  fc.constantFrom('', '/', '~', '~1', '~0', 'a/b', '__proto__', 'constructor', 'prototype', 'toString', 'toJSON', 'then',
    'length', 'push', '0', '1', '01', '-', '"', '\\', '\n', '\u0000', '\u2028', 'é', '€', '𝄞', '\ud800', '\udc00x'),
  fc.string({ unit: 'binary', maxLength: 4 })
)
const scalar = fc.oneof(
  fc.constantFrom(null, true, false, 0, 1, -1, 1.5, 1e21, 5e-324, '', 'text', '\ud834', '\u001f\b\u007f'),
  fc.integer(),
  fc.double({ noNaN: true, noDefaultInfinity: true }).map(number => number + 0),
  fc.string({ unit: 'binary', maxLength: 6 })
)

function jsonWith (key: fc.Arbitrary<string>): fc.Arbitrary<unknown> {
  return fc.letrec<{ json: unknown, object: unknown, array: unknown, scalar: unknown }>(tie => ({
    json: fc.oneof({ depthSize: 'small', maxDepth: 5 }, tie('scalar'), tie('object'), tie('array')),
    array: fc.array(tie('json'), { maxLength: 6 }),
    object: fc.array(fc.tuple(key, tie('json')), { maxLength: 6 }).map(members => {
      const object: Members = {}
      for (const [name, value] of members) putMember(object, name, value)
      return object
    }),
    scalar
  })).json
}

/** Any JSON value; its keys are those that go wrong. */
export const json = jsonWith(hostileKey)
/** JSON with keys that every library handles. */
export const ordinaryJson = jsonWith(ordinaryKey)
export const key = hostileKey

/** A choice that is made when the value to choose from is known. */
export const choice = fc.nat(1000)

/** Deeper than what becomes of a value that is copied into itself by operations. */
export const DEEP = 10_000

/** Numbers from which `operationsOn` makes a patch. */
export const operationSeeds = (values = json) => fc.array(fc.record({
  op: fc.constantFrom('add', 'add', 'remove', 'replace', 'move', 'copy', 'test'),
  path: choice,
  from: choice,
  /** Most operations get a member or element that is new; some one that cannot be. */
  last: fc.oneof({ weight: 3, arbitrary: hostileKey }, { weight: 3, arbitrary: fc.constantFrom('-', '0', '1') },
    { weight: 1, arbitrary: fc.constantFrom('-1', '01', '999') }),
  value: values
}), { maxLength: 8 })

type OperationSeed = ReturnType<typeof operationSeeds> extends fc.Arbitrary<(infer S)[]> ? S : never

/** A patch whose operations, one after the other, mostly apply to `root`. */
export function operationsOn (root: unknown, seeds: OperationSeed[], ordinary = false): Operation[] {
  const operations: Operation[] = []
  for (const seed of seeds) {
    const pointers = pointersOf(root)
    const existing = pointers[seed.path % pointers.length]!
    const from = pointers[seed.from % pointers.length]!
    const last = ordinary && !/^(-|\d+)$/.test(seed.last) ? 'new' : seed.last
    const path = seed.path % 2 === 0 ? existing : `${existing}/${escapeToken(last)}`
    const { value } = seed
    const operation: Operation = seed.op === 'remove'
      ? { op: 'remove', path: existing }
      : seed.op === 'move' || seed.op === 'copy'
        ? { op: seed.op, from, path }
        : seed.op === 'test'
          ? { op: 'test', path: existing, value: seed.from % 2 === 0 ? value : at(root, existing) }
          : { op: seed.op as 'add', path: seed.op === 'replace' ? existing : path, value }
    operations.push(operation)
    try {
      root = applyPatch(root, [operation])
    } catch {
      if (seed.from % 4 > 0) operations.pop() // most patches should apply as a whole
    }
  }
  return operations
}

function pointersOf (value: unknown, path = ''): string[] {
  if (!isContainer(value)) return [path]
  return [path, ...Object.keys(value).flatMap(name => pointersOf((value as Members)[name], `${path}/${escapeToken(name)}`))]
}

function at (root: unknown, pointer: string): unknown {
  let value = root
  for (const token of pointer.split('/').slice(1)) {
    value = (value as Members)[token.replaceAll('~1', '/').replaceAll('~0', '~')]
  }
  return value
}

/** All containers in a value, itself included. */
export function containersOf (value: unknown): Container[] {
  if (!isContainer(value)) return []
  return [value, ...Object.values(value).flatMap(containersOf)]
}
