import type { CrdtOp, CrdtType } from './crdt.js'
import type { Counts } from './pn-counter.js'
import type { ChannelInfo } from '../protocol/messages.js'

/** CRDT_OP from a client. */
export interface CrdtPush { key: string, op: CrdtOp }

/** A change from the server: the last write of a field or register, or the new value of a counter. */
export type CrdtChange =
  | CrdtOp
  /** The record of a removed field can be dropped. */
  | { type: 'lww-map', op: 'forget', key: string }
  /** The sums over all nodes, and the counts of the nodes that changed. */
  | { type: 'pn-counter', op: 'count', plus: number, minus: number, nodes: Record<string, Counts> }

/** CRDT_OP from the server: takes a key from version `from` to `version`. */
export interface CrdtChanges { key: string, epoch: string, from: number, version: number, ops: CrdtChange[] }

/** CRDT_STATE. Version 0 without `state` means that there is no such key. */
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
    /** Counter, version 1: the sums of each node. */
    vector?: { increments: Record<string, number>, decrements: Record<string, number> }
    /** Counter, version 2: the sums, and the counts of the node that asks. */
    plus?: number
    minus?: number
    node?: Counts
  }
}
