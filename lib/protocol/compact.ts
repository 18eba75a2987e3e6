import { coded } from './errors.js'
import type { Operation } from './messages.js'

/** The operations of RFC 6902 by the letter of their short form. */
const NAMES: Record<string, Operation['op']> = { a: 'add', d: 'remove', r: 'replace', m: 'move', c: 'copy', t: 'test' }
/** `d` for remove, as `r` is taken; of the others the first letter. */
const letterOf = (op: Operation['op']): string => op === 'remove' ? 'd' : op[0]!

/**
 * A patch in its short form (PROTOCOL.md, "Compact frames"): of each operation a letter with the path, relative to the
 * path before it, then `from` relative to the path, or the value.
 *
 * @returns the list that JSON carries; `expandOperations` gives back the same operations in the same order
 */
export function compactOperations (operations: readonly Operation[]): unknown[] {
  const list: unknown[] = []
  let last = ''
  for (const operation of operations) {
    const { op, path } = operation
    list.push(letterOf(op) + relative(last, path))
    if ('from' in operation) list.push(relative(path, operation.from))
    else if (op !== 'remove') list.push(operation.value)
    last = path
  }
  return list
}

/**
 * The operations of a list that `compactOperations` made.
 * @throws RangeError `BAD_FRAME` for a list that it cannot have made
 */
export function expandOperations (list: readonly unknown[]): Operation[] {
  const operations: Operation[] = []
  let last = ''
  for (let i = 0; i < list.length;) {
    const text = textOf(list[i++])
    const op = NAMES[text[0]!]
    if (op === undefined) throw broken()
    const path = last = follow(last, text.slice(1))
    if (op === 'remove') operations.push({ op, path })
    else if (op === 'move' || op === 'copy') operations.push({ op, from: follow(path, textOf(list[i++])), path })
    else operations.push({ op, path, value: list[i++] })
  }
  return operations
}

/** The number of segments of `base` to drop, nothing for none, then the segments that follow (JSON Pointer, RFC 6901). */
function relative (base: string, path: string): string {
  let common = 0
  for (let i = 0; ; i++) {
    const isEnd = i === base.length || base[i] === '/'
    if (isEnd && (i === path.length || path[i] === '/')) common = i
    if (i === base.length || base[i] !== path[i]) break
  }
  let dropped = 0
  for (let i = common; i < base.length; i++) if (base[i] === '/') dropped++
  return (dropped === 0 ? '' : dropped) + path.slice(common)
}

function follow (base: string, text: string): string {
  const start = text.indexOf('/')
  const dropped = start === -1 ? text : text.slice(0, start)
  let end = base.length
  for (let left = Number(dropped); left > 0 && end > 0; left--) end = base.lastIndexOf('/', end - 1)
  return base.slice(0, Math.max(0, end)) + (start === -1 ? '' : text.slice(start))
}

function textOf (element: unknown): string {
  if (typeof element !== 'string') throw broken()
  return element
}

function broken (): RangeError {
  return coded(new RangeError('a compact frame cannot be read'), 'BAD_FRAME')
}

/** Bytes of an unsigned number as a varint: seven bits in a byte, the lowest first, the high bit in all but the last (LEB128). */
export function varintSize (value: number): number {
  let size = 1
  for (; value >= 0x80; value = Math.floor(value / 0x80)) size++
  return size
}

/** @returns the offset after the varint */
export function writeVarint (target: Uint8Array, offset: number, value: number): number {
  for (; value >= 0x80; value = Math.floor(value / 0x80)) target[offset++] = (value % 0x80) | 0x80
  target[offset++] = value
  return offset
}

/**
 * The two numbers at the beginning of a compact frame, and its JSON.
 * @throws RangeError `BAD_FRAME` if the frame ends within a number
 */
export function readCompact (frame: Uint8Array): { first: number, second: number, json: Uint8Array } {
  let offset = 1
  const read = (): number => {
    let value = 0
    for (let factor = 1; ; factor *= 0x80) {
      if (offset >= frame.length) throw broken()
      const byte = frame[offset++]!
      value += (byte & 0x7f) * factor
      if (byte < 0x80) return value
    }
  }
  return { first: read(), second: read(), json: frame.subarray(offset) }
}
