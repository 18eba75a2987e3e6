import type { CrdtOp, CrdtType } from './crdt.js'
import type { Counts } from './pn-counter.js'
import type { ChannelInfo } from '../protocol/messages.js'

/** The payload of a CRDT_OP frame from a client. */
export interface CrdtPush { key: string, op: CrdtOp }

/** A change from the server: the last write of a field or register, or the new value of a counter. */
export type CrdtChange =
  | CrdtOp
  /** The client can drop the record of a removed field. */
  | { type: 'lww-map', op: 'forget', key: string }
  /** The sums over all nodes, and the counts of the nodes that changed. */
  | { type: 'pn-counter', op: 'count', plus: number, minus: number, nodes: Record<string, Counts> }

/** The payload of a CRDT_OP frame from the server. It changes a key from version `from` to `version`. */
export interface CrdtChanges { key: string, epoch: string, from: number, version: number, ops: CrdtChange[] }

/** The payload of a CRDT_STATE frame. Version 0 without `state` means that the key does not exist. */
export interface CrdtSnapshot { key: string, epoch: string, version: number, state?: CrdtStateMessage, channel?: ChannelInfo }

export interface CrdtStateMessage {
  type: CrdtType
  /** Absent for a register without a write. */
  value?: unknown
  metadata: {
    type: CrdtType
    /** Register: the last writer. */
    nodeId: string
    /** Unix time of the newest write, in ms. */
    timestamp: number
    version: number
    /** Map: time and writer of each field's last write. A field without a value is removed. */
    stamps?: Record<string, [timestamp: number, nodeId: string]>
    /** Counter, protocol version 1: the sums of each node. */
    vector?: { increments: Record<string, number>, decrements: Record<string, number> }
    /** Counter, protocol version 2 and later: the total sums, and the counts of the receiver's node. */
    plus?: number
    minus?: number
    node?: Counts
  }
}
