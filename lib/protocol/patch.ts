import { deepFreeze } from './frozen.js'
import { clonePlain, type Container, getMember, isContainer, isEqual, type Members, putMember } from './json.js'
import type { Operation } from './messages.js'
import { parseIndex, parsePointer } from './pointer.js'

/** The patch violates RFC 6902, or does not apply to the value. */
export class PatchError extends Error {
  override readonly name = 'PatchError'
  readonly code = 'INVALID_PATCH'
}

/**
 * The target of a patch. The value is the member '' of `holder`, so that the root is an ordinary member and the first
 * token of a pointer, which is always '', leads to it.
 */
export interface Editor {
  readonly holder: Members
  /** Returns the container at `key` in `parent`, or a copy of it, ready to be edited. */
  open (parent: Container, key: string | number, child: Container): Container
  /** Sets a member; undefined removes it. */
  put (object: Members, key: string, value: unknown): void
  splice (array: unknown[], start: number, deleteCount: number, items: unknown[]): void
  /** Called for each value that an operation inserts at `depth`, copies or compares. May throw to refuse it. */
  weigh? (value: unknown, depth: number): void
}

/** Applies operations in order and stops at the first that fails. The caller undoes the others. */
export function runPatch (editor: Editor, patches: Operation[]): void {
  for (const operation of patches) {
    const { path } = operation
    const tokens = tokensOf(path)
    switch (operation.op) {
      case 'add':
        insert(editor, tokens, path, operation.value)
        break
      case 'remove':
        take(editor, tokens, path)
        break
      case 'replace':
        replace(editor, tokens, path, operation.value)
        break
      case 'move': {
        const { from } = operation
        if (path.startsWith(from + '/')) throw new PatchError(`cannot move ${show(from)} into itself`)
        if (path === from) read(editor, tokens, path)
        else insert(editor, tokens, path, take(editor, tokensOf(from), from))
        break
      }
      case 'copy': {
        const value = read(editor, tokensOf(operation.from), operation.from)
        editor.weigh?.(value, 0)
        insert(editor, tokens, path, clonePlain(value))
        break
      }
      case 'test': {
        const value = read(editor, tokens, path)
        if (isContainer(operation.value)) editor.weigh?.(value, 0)
        if (!isEqual(value, operation.value)) throw new PatchError(`test failed at ${show(path)}`)
        break
      }
      default:
        throw new PatchError(`unknown operation ${show((operation as Members).op)}`)
    }
  }
}

function tokensOf (path: string): string[] {
  const tokens = parsePointer(path)
  if (tokens === undefined) throw new PatchError(`${show(path)} is not a JSON Pointer`)
  return tokens
}

function read (editor: Editor, tokens: string[], path: string): unknown {
  let value: unknown = editor.holder
  for (const token of tokens) value = isContainer(value) ? childOf(value, token) : undefined
  if (value === undefined) throw new PatchError(`nothing at ${show(path)}`)
  return value
}

function childOf (container: Container, token: string): unknown {
  return Array.isArray(container) ? container[parseIndex(token)] : getMember(container, token)
}

/** Opens the container that holds the last token. */
function openParent (editor: Editor, tokens: string[], path: string): Container {
  let container: Container = editor.holder
  for (let i = 0; i < tokens.length - 1; i++) {
    const token = tokens[i]!
    const child = childOf(container, token)
    if (!isContainer(child)) throw new PatchError(`no container for ${show(path)}`)
    container = editor.open(container, token, child)
  }
  return container
}

function replace (editor: Editor, tokens: string[], path: string, value: unknown): void {
  const container = openParent(editor, tokens, path)
  const key = tokens.at(-1)!
  // replacing the root is allowed even if there is no value yet
  if (path !== '' && childOf(container, key) === undefined) throw new PatchError(`nothing at ${show(path)}`)
  if (value === undefined) throw new PatchError(`no value for ${show(path)}`)
  editor.weigh?.(value, tokens.length - 1)
  if (Array.isArray(container)) editor.splice(container, Number(key), 1, [value])
  else editor.put(container, key, value)
}

function insert (editor: Editor, tokens: string[], path: string, value: unknown): void {
  if (value === undefined) throw new PatchError(`no value for ${show(path)}`)
  editor.weigh?.(value, tokens.length - 1)
  const container = openParent(editor, tokens, path)
  const key = tokens.at(-1)!
  if (Array.isArray(container)) {
    const index = key === '-' ? container.length : parseIndex(key)
    if (index < 0 || index > container.length) throw new PatchError(`no such array index: ${show(path)}`)
    editor.splice(container, index, 0, [value])
  } else {
    editor.put(container, key, value)
  }
}

function take (editor: Editor, tokens: string[], path: string): unknown {
  if (path === '') throw new PatchError('the root cannot be removed: replace it')
  const container = openParent(editor, tokens, path)
  const key = tokens.at(-1)!
  const value = childOf(container, key)
  if (value === undefined) throw new PatchError(`nothing at ${show(path)}`)
  if (Array.isArray(container)) editor.splice(container, Number(key), 1, [])
  else editor.put(container, key, undefined)
  return value
}

/**
 * Applies a patch without changing `root`. The result copies each changed container once, and shares the rest with
 * `root`.
 * @throws PatchError
 */
export function applyPatch (root: unknown, patches: Operation[]): unknown {
  const copying = new Copying(root)
  runPatch(copying, patches)
  return copying.holder['']
}

/**
 * Like `applyPatch`, but `root` must be frozen, and the result is frozen too. The operations' values become part of
 * the result and are frozen in place. Only new containers are walked.
 * @throws PatchError
 */
export function applyFrozen (root: unknown, patches: Operation[]): unknown {
  const freezing = new Freezing(root)
  runPatch(freezing, patches)
  freezing.freeze()
  return freezing.holder['']
}

class Copying implements Editor {
  readonly holder: Members
  /** Containers that this call created. Their parents were created by it too. */
  protected readonly own = new Set<Container>()

  constructor (root: unknown) {
    this.holder = root === undefined ? {} : { '': root }
  }

  open (parent: Container, key: string, child: Container): Container {
    if (this.own.has(child)) return child
    // slice is a hundred times slower if the array is frozen
    const copy = Array.isArray(child) ? [...child] as unknown[] : { ...child }
    this.own.add(copy)
    putMember(parent as Members, key, copy)
    return copy
  }

  put (object: Members, key: string, value: unknown): void {
    if (value === undefined) delete object[key]
    else putMember(object, key, value)
  }

  splice (array: unknown[], start: number, deleteCount: number, items: unknown[]): void {
    array.splice(start, deleteCount, ...items)
  }
}

class Freezing extends Copying {
  readonly #inserted: unknown[] = []

  weigh (value: unknown): void {
    if (isContainer(value)) this.#inserted.push(value)
  }

  freeze (): void {
    for (const value of this.#inserted) deepFreeze(value)
    // their children are already frozen, inserted (frozen above), or containers of this loop
    for (const container of this.own) Object.freeze(container)
  }
}

/**
 * Checks that an untrusted value is a JSON Patch. The result omits members that RFC 6902 does not define, and does not
 * copy the values of the operations.
 * @param value a result of JSON.parse
 * @throws PatchError
 */
export function parsePatch (value: unknown): Operation[] {
  if (!Array.isArray(value)) throw new PatchError('a patch is an array of operations')
  return value.map(parseOperation)
}

function parseOperation (given: unknown, index: number): Operation {
  if (!isContainer(given) || Array.isArray(given)) throw new PatchError(`operation ${index} is not an object`)
  const op = getMember(given, 'op')
  const path = pointerIn(given, 'path', index)
  switch (op) {
    case 'add':
    case 'replace':
    case 'test': {
      const value = getMember(given, 'value')
      if (value === undefined) throw new PatchError(`operation ${index} (${op}) has no value`)
      return { op, path, value }
    }
    case 'remove':
      return { op, path }
    case 'move':
    case 'copy':
      return { op, from: pointerIn(given, 'from', index), path }
    default:
      throw new PatchError(`operation ${index}: op is ${show(op)}, not add, remove, replace, move, copy or test`)
  }
}

function pointerIn (given: Members, name: string, index: number): string {
  const pointer = getMember(given, name)
  if (typeof pointer !== 'string' || parsePointer(pointer) === undefined) {
    throw new PatchError(`operation ${index}: ${name} is ${show(pointer)}, not a JSON Pointer`)
  }
  return pointer
}

/** Formats an untrusted value, of any type and length, for an error message. */
function show (value: unknown): string {
  if (typeof value !== 'string') return value === undefined ? 'missing' : `a ${typeof value}`
  return JSON.stringify(value.length > 100 ? value.slice(0, 100) + '…' : value)
}
