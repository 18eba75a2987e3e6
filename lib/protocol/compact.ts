import { coded } from './errors.js'
import type { Operation } from './messages.js'

/** The operations of RFC 6902 by their letter in the short form. */
const NAMES: Record<string, Operation['op']> = { a: 'add', d: 'remove', r: 'replace', m: 'move', c: 'copy', t: 'test' }
/** `d` for remove, because `r` means replace; otherwise the first letter. */
const letterOf = (op: Operation['op']): string => op === 'remove' ? 'd' : op[0]!

/**
 * Encodes a patch in its short form (PROTOCOL.md, "Compact frames"). An operation is its letter and its path, relative
 * to the previous path, followed by the value, or by `from` relative to the path.
 *
 * @returns a list to send as JSON; `expandOperations` restores the same operations in the same order
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
 * Decodes a list that `compactOperations` made.
 * @throws RangeError `BAD_FRAME` if the list is malformed
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

/** The number of last segments of `base` to drop (omitted if 0), then the segments to append (JSON Pointer, RFC 6901). */
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

/** Size in bytes of an unsigned integer as a varint (LEB128). */
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
 * Reads the two varints at the start of a compact frame, and the JSON after them.
 * @throws RangeError `BAD_FRAME` if the frame ends inside a varint
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
