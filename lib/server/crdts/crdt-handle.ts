import type { CrdtOp, CrdtType } from '../../crdt/crdt.js'
import { readOp } from '../../crdt/types.js'
import { invalidArgument } from '../../protocol/errors.js'
import { copyJson } from '../../protocol/json.js'

/** An operation of server code. Default `nodeId` and `timestamp`: the server's. */
export type ServerOp = Omit<CrdtOp, 'nodeId' | 'timestamp'> & Partial<Pick<CrdtOp, 'nodeId' | 'timestamp'>>

/** The members that all CRDTs have for server code. */
interface AnyCrdt<Type, V> {
  /** The key of the CRDT. */
  readonly key: string
  /** `pn-counter`, `lww-register`, `lww-map` or `yjs`. */
  readonly type: Type
  /** Reads the value that this node knows. @returns a copy; undefined if nobody has written one */
  value (): Promise<V | undefined>
}

/** A number that many clients change concurrently. No change is lost. */
export interface ServerCounter extends AnyCrdt<'pn-counter', number> {
  /** Adds to the counter. Resolves when it is stored. @param amount from 0; default 1 */
  increment (amount?: number): Promise<void>
  /** Subtracts from the counter. Resolves when it is stored. @param amount from 0; default 1 */
  decrement (amount?: number): Promise<void>
}

/** A value. The last write wins. */
export interface ServerRegister<V> extends AnyCrdt<'lww-register', V> {
  /**
   * Replaces the value. Resolves when it is stored.
   * @param value plain JSON
   * @throws TypeError `INVALID_JSON`, RangeError `TOO_DEEP`
   */
  set (value: V): Promise<void>
}

/** An object. The last write of each field wins. */
export interface ServerMap<V> extends AnyCrdt<'lww-map', V> {
  /**
   * Sets a field. Resolves when it is stored.
   * @param field its name
   * @param value plain JSON
   * @throws TypeError `INVALID_JSON`, RangeError `TOO_DEEP`
   */
  set<F extends keyof V & string> (field: F, value: NonNullable<V[F]>): Promise<void>
  /** Removes a field. Resolves when that is stored. @param field its name */
  remove<F extends keyof V & string> (field: F): Promise<void>
}

/** A Yjs document. Its value is a list of updates in base64. */
export interface ServerDocument extends AnyCrdt<'yjs', string[]> {
  /** Applies an update. Resolves when stored. @param base64 an update of Yjs @throws TypeError `INVALID_ARGUMENT` */
  update (base64: string): Promise<void>
}

/** The handle of a CRDT for server code. `V` is the value of a register, or the fields of a map. */
export type ServerCrdt<Type extends CrdtType, V> = {
  'pn-counter': ServerCounter
  'lww-register': ServerRegister<V>
  'lww-map': ServerMap<V>
  yjs: ServerDocument
}[Type]

/** The access of a handle to its key, on the main thread or in a worker. */
export interface CrdtAccess {
  value: () => Promise<unknown>
  apply: (op: ServerOp) => Promise<void>
}

/** Creates the handle of a key, with the operations of its type. */
export function crdtHandle (key: string, type: CrdtType, { value, apply }: CrdtAccess): unknown {
  const common = { key, type, value }
  if (type === 'yjs') return { ...common, update: (value: string) => apply({ type, op: 'update', value }) }
  if (type === 'lww-register') return { ...common, set: (value: unknown) => apply({ type, op: 'set', value }) }
  if (type === 'lww-map') return { ...common, set: (field: string, value: unknown) => apply({ type, op: 'set', key: field, value }), remove: (field: string) => apply({ type, op: 'remove', key: field }) }
  return { ...common, increment: (value = 1) => apply({ type, op: 'increment', value }), decrement: (value = 1) => apply({ type, op: 'decrement', value }) }
}

/**
 * An operation of server code, with a copy of its value.
 * @param nodeId the default for an operation without one
 * @throws TypeError `INVALID_ARGUMENT`, `INVALID_JSON`
 */
export function readServerOp (key: string, op: ServerOp, nodeId: string, maxDepth: number): CrdtOp {
  checkCrdtKey(key)
  const read = readOp({ nodeId, timestamp: 0, ...op })
  if (typeof read === 'string') throw invalidArgument(`crdt.apply("${key}"): ${read}`)
  if (op.value !== undefined) read.value = copyJson(op.value, maxDepth)
  return read
}

export function checkCrdtKey (key: string): string {
  if (typeof key !== 'string') throw invalidArgument('the key of a CRDT must be a string')
  return key
}
