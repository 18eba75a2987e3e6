import type { CrdtOp, CrdtType } from '../crdt/crdt.js'
import type { Counts } from '../crdt/pn-counter.js'
import { type CrdtState, crdtOf } from '../crdt/types.js'
import type { CrdtChanges, CrdtSnapshot, CrdtStateMessage } from '../crdt/crdt-frames.js'
import { deepFreeze } from '../protocol/frozen.js'
import { clonePlain, getMember, putMember } from '../protocol/json.js'
import type { Head } from '../protocol/messages.js'
import { lostWrites } from './lost-writes.js'
import type { ApplyResult } from './state-replica.js'

/** An operation of this client that the server has not acknowledged. */
export interface Pending {
  op: CrdtOp
  /** Correlation id while the operation is in flight, or 0. */
  id: number
  /** Whether the operation was sent, so that the server may have it. */
  isSent: boolean
  /** Length of its JSON, in characters. */
  size: number
}

/**
 * A client's replica of one key: the server's state, plus the operations that the server has not acknowledged. A new
 * state from the server keeps these operations.
 */
export class CrdtKey {
  head: Head | undefined
  readonly pending: Pending[] = []
  #base: CrdtState
  #view: CrdtState
  #value: { value: unknown } | undefined
  #seq = 0
  /** Whether the server has acknowledged an operation of this client. */
  #hasWritten = false

  /** @param nodeId unique to this replica, because its operations are numbered per nodeId */
  constructor (readonly key: string, readonly type: CrdtType, public nodeId: string) {
    this.#base = crdtOf(type).empty()
    this.#view = crdtOf(type).empty()
  }

  /** The value. It is frozen, because subscribers share it. */
  get value (): unknown {
    return (this.#value ??= { value: deepFreeze(crdtOf(this.type).value(this.#view)) }).value
  }

  /** The timestamp of the last write of a field or of the register; 0 if there is none. */
  writtenAt (field = ''): number {
    const view = this.#view
    const written = view.type === 'lww-map' ? getMember(view.fields, field) : view.type === 'lww-register' ? view.written : undefined
    return (written as [number] | undefined)?.[0] ?? 0
  }

  /**
   * Applies an operation of this client. It merges with an unsent operation, or replaces one that it overwrites.
   * @returns the number of characters of JSON that it adds to the queue
   */
  add (op: CrdtOp): number {
    crdtOf(this.type).apply(this.#view, { ...op, seq: undefined })
    this.#value = undefined
    const isCounter = this.type === 'pn-counter'
    const replaced = this.type === 'yjs' ? undefined : this.pending.find((each) => !each.isSent && (isCounter ? each.op.op === op.op && sum(each.op, op) <= Number.MAX_SAFE_INTEGER : each.op.key === op.key))
    if (replaced === undefined) return this.#queue(op)
    const { seq } = replaced.op
    const { nodeId } = replaced.op
    replaced.op = isCounter ? { ...op, value: sum(replaced.op, op), nodeId, seq } : { ...op, nodeId, seq }
    const before = replaced.size
    return (replaced.size = JSON.stringify(replaced.op).length) - before
  }

  /** The payload of the CRDT_OP frame for an operation. */
  message (pending: Pending): object {
    return { key: this.key, op: this.#numbered(pending) }
  }

  /** Removes an operation that the server has acknowledged. The server's broadcast of it may still arrive. */
  acknowledge (pending: Pending): void {
    // operations under an earlier nodeId are already in the server's sums
    if (this.type !== 'pn-counter' || pending.op.nodeId === this.nodeId) crdtOf(this.type).apply(this.#base, this.#numbered(pending))
    this.#hasWritten = true
    this.#drop(pending)
  }

  /** Undoes an operation that the server has refused. */
  refuse (pending: Pending): void {
    this.#drop(pending)
    this.#rebuild()
  }

  /** Sets the nodeId of later operations. Sent operations keep theirs, because the server may have them. */
  rename (nodeId: string): void {
    this.nodeId = nodeId
    this.#seq = 0
  }

  /** Queues an operation again under the current nodeId, because the earlier nodeId belongs to another user. */
  renumber (pending: Pending): void {
    this.#drop(pending)
    pending.op = { ...pending.op, nodeId: this.nodeId, seq: ++this.#seq }
    pending.isSent = false
    this.pending.push(pending)
  }

  /** Replaces the timestamp of an operation. */
  restamp (pending: Pending, timestamp: number): void {
    pending.op.timestamp = timestamp
    this.#rebuild()
  }

  /** Applies a state from the server. @returns the number of characters of JSON that it adds to the queue */
  state ({ epoch, version, state, channel }: CrdtSnapshot): number {
    const isNewCopy = this.#hasWritten && channel?.direction === 'client-to-server' && this.head?.epoch !== epoch
    const { value } = this
    const last = this.#base
    this.head = { epoch, version }
    this.#base = state === undefined ? crdtOf(this.type).empty() : baseOf(state, this.nodeId)
    let size = 0
    if (isNewCopy) {
      // the private copy of this connection is new: write this client's values again
      this.#hasWritten = false
      for (const write of lostWrites(last, value, this.#base, this.pending.map(({ op }) => op))) size += this.#queue({ type: this.type, nodeId: this.nodeId, ...write })
    }
    this.#rebuild()
    return size
  }

  changes ({ epoch, from, version, ops }: CrdtChanges): ApplyResult {
    const { head } = this
    if (head === undefined || head.epoch !== epoch || (version > head.version && from !== head.version)) return 'gap'
    if (version <= head.version) return 'known'
    this.head = { epoch, version }
    for (const change of ops) {
      if (change.type !== this.type) return 'gap'
      if (change.op === 'count') {
        const base = this.#base as Extract<CrdtState, { type: 'pn-counter' }>
        base.plus = change.plus
        base.minus = change.minus
        const counts = getMember(change.nodes, this.nodeId)
        if (counts !== undefined) putMember(base.nodes, this.nodeId, counts)
      } else if (change.op === 'forget') {
        for (const state of [this.#base, this.#view]) forgetField(state as Extract<CrdtState, { type: 'lww-map' }>, change.key)
      } else {
        crdtOf(this.type).apply(this.#base, change)
        crdtOf(this.type).apply(this.#view, change)
        this.#value = undefined
      }
    }
    // cheap, because a client's counter has only one node
    if (this.type === 'pn-counter') this.#rebuild()
    return 'changed'
  }

  /** Drops the updates of a Yjs document once subscribers have them. */
  dropDelivered (): void {
    if (this.#base.type !== 'yjs') return
    this.#base = crdtOf('yjs').empty()
    this.#rebuild()
  }

  /** @returns the length of its JSON, in characters */
  #queue (op: CrdtOp): number {
    const pending = { op: { ...op, seq: ++this.#seq }, id: 0, isSent: false, size: 0 }
    this.pending.push(pending)
    return (pending.size = JSON.stringify(pending.op).length)
  }

  #drop (pending: Pending): void {
    this.pending.splice(this.pending.indexOf(pending), 1)
  }

  #rebuild (): void {
    this.#view = clonePlain(this.#base)
    for (const pending of this.pending) crdtOf(this.type).apply(this.#view, this.#numbered(pending))
    this.#value = undefined
  }

  /** Adds `settled`. Operations of a nodeId are queued in order, so all before the first pending one are settled. */
  #numbered ({ op }: Pending): CrdtOp {
    return { ...op, settled: this.pending.find((each) => each.op.nodeId === op.nodeId)!.op.seq! - 1 }
  }
}

function sum (a: CrdtOp, b: CrdtOp): number {
  return (a.value as number) + (b.value as number)
}

function forgetField ({ fields }: Extract<CrdtState, { type: 'lww-map' }>, field: string): void {
  if ((getMember(fields, field) as unknown[] | undefined)?.length === 2) delete fields[field]
}

/** Reads the state of a message. Of a counter's nodes, it has only this client's; the sums include the others. */
function baseOf ({ type, value, metadata }: CrdtStateMessage, nodeId: string): CrdtState {
  const { timestamp, plus = 0, minus = 0, node, stamps = {} } = metadata
  if (type === 'pn-counter') {
    const nodes: Record<string, Counts> = {}
    if (node !== undefined) putMember(nodes, nodeId, node)
    return { type, plus, minus, nodes, floor: -1 }
  }
  if (type === 'lww-register') return value === undefined ? { type } : { type, written: [timestamp, metadata.nodeId, value] }
  if (type === 'yjs') return { type, updates: value as string[] }
  const fields: Extract<CrdtState, { type: 'lww-map' }>['fields'] = {}
  for (const [field, stamp] of Object.entries(stamps)) {
    putMember(fields, field, Object.hasOwn(value as object, field) ? [...stamp, getMember(value as object, field)] : stamp)
  }
  return { type, fields, floor: -1 }
}
