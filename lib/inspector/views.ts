import type { BackendHealth, ExecutorMetrics } from '../server/metrics/metrics.js'
import type { RefusalCounts } from '../server/metrics/refusals.js'

/*
 * The data of the inspector, as nodes answer each other, and as its page gets it. Times are Unix time in ms, durations
 * are ms, rates are per second.
 */

/** Rows of a table at the most, for each node and for each viewer; bytes of a value; frames that a tail remembers. */
export const MAX_ROWS = 200
export const MAX_VALUE = 256 * 1024
export const MAX_FRAMES = 500
/** Characters of a filter. */
export const MAX_FILTER = 100

/** ms that a sample is valid: all questions within that time get the same. */
export const FRESH = 800

export interface Rates { messagesIn: number, messagesOut: number, bytesIn: number, bytesOut: number, calls: number, errors: number, events: number, commits: number, pushes: number, refused: number }

export interface Quantiles { count: number, p50: number, p99: number, max: number }

/** A node. All but the first four members are absent if it does not answer. */
export interface NodeView {
  host: string
  pid: number
  startedAt: number
  isSelf: boolean
  /** It gave a sign of life, and no answer in time; `unregistered`: it runs without the inspector. */
  state: 'here' | 'missing' | 'unregistered'
  connections?: number
  users?: number
  subscriptions?: number
  bufferedBytes?: number
  keys?: number
  sessions?: number
  /** Share of one core, and of the event loop's time. */
  cpu?: number
  utilization?: number
  rss?: number
  heap?: number
  rates?: Rates
  /** Of the event loop, of commits, and from a commit or a broadcast until the sockets have it: since the sample before. */
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
  /** Calls under way. */
  calls: number
  bytesIn: number
  bytesOut: number
  tags: string[]
}

export interface ClosedRow { id: string, node: string, user: string, address: string, at: number, code: number, reason: string }

/** The live state `connections:FILTER`, by connection id. `count` is of all that match, `total` of all. */
export interface ConnectionsView { count: number, total: number, rows: Record<string, ConnectionRow>, closed: ClosedRow[] }

/** A key: the scope of its storage, its kind (`state`, `crdt`, `session`), its name. */
export interface KeyRef { scope: string, kind: string, key: string }

export interface KeyRow extends KeyRef {
  version: number
  bytes: number
  isLive: boolean
  /** Commits per second. */
  rate: number
  subscribers: number
  /** The nodes that hold it, up to 10. */
  nodes: string[]
}

/** The live state `keys:FILTER`, by scope, kind and name. */
export interface KeysView { count: number, total: number, rows: Record<string, KeyRow> }

/** A method, or an event with a handler, since somebody looks. */
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
  /** Correlation id. */
  id: number
  /** On the wire. */
  bytes: number
  connection: string
  user: string
  /** Connections that the frame went to, one after the other. */
  receivers: number
  /** The payload, up to 2,048 characters. */
  text: string
  isCut: boolean
}

/** Frames after a cursor. `cursors` are for the next question; `lost` were overwritten, or too many to decode. */
export interface TailAnswer { frames: Array<FrameRow & { node: string }>, cursors: Record<string, number>, lost: number, missing: string[] }

export interface ConnectionDetail { row?: ConnectionRow & { id: string }, keys: string[], keyCount: number, missing: string[] }

export interface KeyDetail extends KeyRef {
  /** False if no node holds it and the backend has none. */
  isThere: boolean
  node: string
  epoch: string
  version: number
  bytes: number
  isLive: boolean
  /** JSON, up to MAX_VALUE characters. */
  text: string
  isCut: boolean
  /** The newest first, as far as the node remembers. */
  commits: Array<{ version: number, patches: string, isCut: boolean }>
  missing: string[]
}

/** The contract of the inspector's own server with its page. */
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

/** The question of a viewer's node to all nodes. */
export interface Ask {
  /** Filters. */
  connections?: string[]
  keys?: string[]
  methods?: true
  overview?: true
  /** The last frame that was seen, by node. */
  tail?: { target: TailTarget, cursors: Record<string, number> }
  connection?: string
  key?: KeyRef
}

export interface MethodSample { kind: 'method' | 'event', name: string, scope: string, calls: number, errors: number, sum: number, max: number, rate: number, /** Pairs of a bucket and its count. */ buckets: number[] }

/** A node's answer to an Ask. */
export interface Told {
  overview?: Omit<NodeView, 'host' | 'pid' | 'startedAt' | 'isSelf' | 'state'>
  connections?: Array<{ filter: string, count: number, total: number, rows: Record<string, Omit<ConnectionRow, 'node'>> }>
  closed?: Array<Omit<ClosedRow, 'node'>>
  keys?: Array<{ filter: string, count: number, total: number, rows: Record<string, Omit<KeyRow, 'nodes'>> }>
  methods?: { since: number, count: number, rows: MethodSample[] }
  tail?: { frames: FrameRow[], next: number, lost: number }
  connection?: Omit<ConnectionDetail, 'missing'>
  key?: Omit<KeyDetail, 'node' | 'missing'>
}
