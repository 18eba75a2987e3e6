import type { Crdt, CrdtOp, CrdtType } from './crdt.js'
import { lwwMap, type MapState } from './lww-map.js'
import { lwwRegister, type RegisterState } from './lww-register.js'
import { type CounterState, pnCounter } from './pn-counter.js'
import { type YjsState, yjsDocument } from './yjs-document.js'

export type CrdtState = CounterState | RegisterState | MapState | YjsState

const TYPES: Record<CrdtType, unknown> = { 'pn-counter': pnCounter, 'lww-register': lwwRegister, 'lww-map': lwwMap, yjs: yjsDocument }

/** How far a timestamp may be ahead of the local clock, in ms. */
export const MAX_SKEW = 60_000

/** Maximum length of a nodeId, in characters. */
const MAX_NODE = 128

export function isCrdtType (type: unknown): type is CrdtType {
  return typeof type === 'string' && Object.hasOwn(TYPES, type)
}

/** The functions of a CRDT type. */
export function crdtOf (type: CrdtType): Crdt<CrdtState, unknown> {
  return TYPES[type] as Crdt<CrdtState, unknown>
}

/**
 * Validates an untrusted operation, and drops unknown members.
 * @returns the operation, or the reason why it is invalid
 */
export function readOp (raw: unknown): CrdtOp | string {
  if (typeof raw !== 'object' || raw === null) return 'the operation is not an object'
  const { type, nodeId, timestamp, op, key, value, seq, settled } = raw as Record<string, unknown>
  if (!isCrdtType(type)) return 'the type is unknown'
  if (typeof nodeId !== 'string' || nodeId === '' || nodeId.length > MAX_NODE) return `the nodeId is not a string of 1 to ${MAX_NODE} characters`
  if (!Number.isFinite(timestamp) || (timestamp as number) < 0) return 'the timestamp is not a time in ms'
  if (seq !== undefined && (!Number.isSafeInteger(seq) || (seq as number) < 1)) return 'the seq is not a whole number from 1'
  if (settled !== undefined && (!Number.isSafeInteger(settled) || (settled as number) < 0 || seq === undefined || (settled as number) >= (seq as number))) return 'settled is not a whole number below seq'
  const read: CrdtOp = { type, nodeId, timestamp: timestamp as number, op: op as CrdtOp['op'] }
  if (seq !== undefined) read.seq = seq as number
  if (settled !== undefined) read.settled = settled as number
  return readEdit(read, key, value)
}

/**
 * Adds the key and the value to an operation, if its type takes them.
 * @returns the operation, or the reason why it is invalid
 */
export function readEdit (read: CrdtOp, key: unknown, value: unknown): CrdtOp | string {
  const { type, op } = read
  if (type === 'pn-counter') {
    if (op !== 'increment' && op !== 'decrement') return 'a pn-counter takes increment and decrement'
    const amount = value === undefined ? 1 : value
    if (!Number.isFinite(amount) || (amount as number) < 0 || (amount as number) > Number.MAX_SAFE_INTEGER) return 'the amount is not a number from 0 to 2^53 - 1'
    read.value = amount
    return read
  }
  if (type === 'yjs') {
    if (op !== 'update' || typeof value !== 'string' || !/^[A-Za-z0-9+/]+={0,2}$/.test(value)) return 'a yjs document takes update, with a value in base64'
    read.value = value
    return read
  }
  if (op !== 'set' && (op !== 'remove' || type !== 'lww-map')) return type === 'lww-map' ? 'an lww-map takes set and remove' : 'an lww-register takes set'
  if (op === 'set') {
    if (value === undefined) return 'the value is missing'
    read.value = value
  }
  if (type === 'lww-map') {
    if (typeof key !== 'string') return 'the key is not a string'
    read.key = key
  }
  return read
}
