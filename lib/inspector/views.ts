import type { BackendHealth, ExecutorMetrics } from '../server/metrics/metrics.js'
import type { RefusalCounts } from '../server/metrics/refusals.js'

/*
 * The data of the inspector: answers between nodes, and data for the page. Times are Unix time in ms, durations are in
 * ms, rates are per second.
 */

/** Bounds: rows of a table, characters of a value's text, and frames of a tail. */
export const MAX_ROWS = 200
export const MAX_VALUE = 256 * 1024
export const MAX_FRAMES = 500
/** Maximum length of a filter, in characters. */
export const MAX_FILTER = 100

/** Time in ms for which a sample is reused. */
export const FRESH = 800

export interface Rates { messagesIn: number, messagesOut: number, bytesIn: number, bytesOut: number, calls: number, errors: number, events: number, commits: number, pushes: number, refused: number }

export interface Quantiles { count: number, p50: number, p99: number, max: number }

/** A node. Members after `state` are absent if the node does not answer. */
export interface NodeView {
  host: string
  pid: number
  startedAt: number
  isSelf: boolean
  /** `missing`: the node is alive but did not answer in time. `unregistered`: it runs without the inspector. */
  state: 'here' | 'missing' | 'unregistered'
  connections?: number
  users?: number
  subscriptions?: number
  bufferedBytes?: number
  keys?: number
  sessions?: number
  /** Share of one core. `utilization` is the share of the event loop's time. */
  cpu?: number
  utilization?: number
  rss?: number
  heap?: number
  rates?: Rates
  /** Delay of the event loop since the last sample. `commit` and `fanout`: durations since the last sample. */
  delay?: Quantiles
  commit?: Quantiles
  fanout?: Quantiles
  refusals?: RefusalCounts
  executor?: ExecutorMetrics
  backends?: BackendHealth[]
}

/** The live state `overview`, by node id. */
export interface Overview { at: number, viewers: number, nodes: Record<string, NodeView> }

export interface ConnectionRow {
  node: string
  user: string
  address: string
  protocol: number
  connectedAt: number
  subscriptions: number
  bufferedBytes: number
  /** Calls in flight. */
  calls: number
  bytesIn: number
  bytesOut: number
  tags: string[]
}

export interface ClosedRow { id: string, node: string, user: string, address: string, at: number, code: number, reason: string }

/** The live state `connections:FILTER`, by connection id. `count` is the number of matches, `total` the number of all. */
export interface ConnectionsView { count: number, total: number, rows: Record<string, ConnectionRow>, closed: ClosedRow[] }

/** Identifies a key: the scope of its storage, its kind (`state`, `crdt`, `session`), and its name. */
export interface KeyRef { scope: string, kind: string, key: string }

export interface KeyRow extends KeyRef {
  version: number
  bytes: number
  isLive: boolean
  /** Commits per second. */
  rate: number
  subscribers: number
  /** The nodes that have the key in memory, up to 10. */
  nodes: string[]
}

/** The live state `keys:FILTER`, by scope, kind and name. */
export interface KeysView { count: number, total: number, rows: Record<string, KeyRow> }

/** A method or an event, with its figures since recording started. */
export interface MethodRow { kind: 'method' | 'event', name: string, scope: string, calls: number, errors: number, rate: number, mean: number, p50: number, p99: number, max: number }

/** The live state `methods`, by kind and name. */
export interface MethodsView { since: number, count: number, rows: Record<string, MethodRow> }

/** The subject of a tail: the frames of one connection, or of one key. */
export type TailTarget = { connection: string } | { key: string }

export interface FrameRow {
  seq: number
  at: number
  direction: 'in' | 'out'
  opcode: string
  /** The correlation id. */
  id: number
  /** Size on the wire. */
  bytes: number
  connection: string
  user: string
  /** Number of connections to which the frame was sent in a row. */
  receivers: number
  /** The payload, up to 2,048 characters. */
  text: string
  isCut: boolean
}

/** Frames after a cursor. `cursors` are for the next request. `lost` frames were overwritten, or too many to decode. */
export interface TailAnswer { frames: Array<FrameRow & { node: string }>, cursors: Record<string, number>, lost: number, missing: string[] }

export interface ConnectionDetail { row?: ConnectionRow & { id: string }, keys: string[], keyCount: number, missing: string[] }

export interface KeyDetail extends KeyRef {
  /** False if no node and no backend has the key. */
  isThere: boolean
  node: string
  epoch: string
  version: number
  bytes: number
  isLive: boolean
  /** The value as JSON, up to MAX_VALUE characters. */
  text: string
  isCut: boolean
  /** The commits that the node remembers, the newest first. */
  commits: Array<{ version: number, patches: string, isCut: boolean }>
  missing: string[]
}

/** The contract between the inspector's own server and its page. */
export interface InspectorContract {
  rpc: {
    hello: { params: undefined, result: { mayAct: boolean, node: string } }
    connection: { params: { node: string, id: string }, result: ConnectionDetail }
    key: { params: KeyRef & { node?: string }, result: KeyDetail }
    frames: { params: { target: TailTarget, cursors: Record<string, number> }, result: TailAnswer }
    disconnect: { params: { id: string, code: number, reason: string }, result: { count: number, missing: string[] } }
    edit: { params: KeyRef & { epoch: string, version: number, text: string }, result: { changes: number } }
    evict: { params: KeyRef & { epoch: string, version: number }, result: { wasThere: boolean } }
  }
  events: object
  state: { overview: Overview, methods: MethodsView }
}

/** The request that a viewer's node sends to all nodes. */
export interface Ask {
  /** The filters of the requested connection tables. */
  connections?: string[]
  keys?: string[]
  methods?: true
  overview?: true
  /** A tail, with the number of the last received frame of each node. */
  tail?: { target: TailTarget, cursors: Record<string, number> }
  connection?: string
  key?: KeyRef
}

export interface MethodSample { kind: 'method' | 'event', name: string, scope: string, calls: number, errors: number, sum: number, max: number, rate: number, /** pairs of a bucket and its count */ buckets: number[] }

/** A node's answer to an Ask. */
export interface NodeAnswer {
  overview?: Omit<NodeView, 'host' | 'pid' | 'startedAt' | 'isSelf' | 'state'>
  connections?: Array<{ filter: string, count: number, total: number, rows: Record<string, Omit<ConnectionRow, 'node'>> }>
  closed?: Array<Omit<ClosedRow, 'node'>>
  keys?: Array<{ filter: string, count: number, total: number, rows: Record<string, Omit<KeyRow, 'nodes'>> }>
  methods?: { since: number, count: number, rows: MethodSample[] }
  tail?: { frames: FrameRow[], next: number, lost: number }
  connection?: Omit<ConnectionDetail, 'missing'>
  key?: Omit<KeyDetail, 'node' | 'missing'>
}
