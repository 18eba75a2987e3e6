import type { CrdtOp, CrdtType } from './crdt.js'
import type { Counts } from './pn-counter.js'
import type { ChannelInfo } from '../protocol/messages.js'

/** CRDT_OP of a client. */
export interface CrdtPush { key: string, op: CrdtOp }

/** A change from the server: the last write of a field or register, or the new value of a counter. */
export type CrdtChange =
  | CrdtOp
  /** The removal of a field need not be remembered any longer. */
  | { type: 'lww-map', op: 'forget', key: string }
  /** The sums of all nodes, and of the nodes that counted what is known of each. */
  | { type: 'pn-counter', op: 'count', plus: number, minus: number, nodes: Record<string, Counts> }

/** CRDT_OP of the server: takes a key from version `from` to `version`. */
export interface CrdtChanges { key: string, epoch: string, from: number, version: number, ops: CrdtChange[] }

/** CRDT_STATE; version 0 without `state` is a key that is not there. */
export interface CrdtSnapshot { key: string, epoch: string, version: number, state?: CrdtStateMessage, channel?: ChannelInfo }

export interface CrdtStateMessage {
  type: CrdtType
  /** Absent for a register that nobody has written. */
  value?: unknown
  metadata: {
    type: CrdtType
    /** The last writer's, of a register. */
    nodeId: string
    /** The newest write, as Unix time in ms. */
    timestamp: number
    version: number
    /** Of a map: when and by whom each field was written last; those without a value are removed. */
    stamps?: Record<string, [timestamp: number, nodeId: string]>
    /** Of a counter, for version 1: what each node has counted. */
    vector?: { increments: Record<string, number>, decrements: Record<string, number> }
    /** Of a counter, for version 2: the sums, and what is known of the node that asks. */
    plus?: number
    minus?: number
    node?: Counts
  }
}
