import type { Connection } from '../server/connection/connection.js'
import type { Core } from '../server/core.js'
import { closeReason } from '../server/metrics/refusals.js'
import { type ConnectionDetail, type ConnectionRow, FRESH, MAX_ROWS, type NodeAnswer } from './views.js'

type Row = Omit<ConnectionRow, 'node'>

/** A connection with its bytes per second; `activity` is the sort order. */
interface Sampled { connection: Connection, bytesIn: number, bytesOut: number, activity: number }

/** Maximum number of tags of a row, of keys of a connection, and of characters of each. */
const MAX_TAGS = 10
const MAX_KEYS = 100
const MAX_TEXT = 200
/** Maximum number of closed connections to remember. */
const MAX_CLOSED = 50

/** Rounds to two digits, so that small changes cause no patch. */
const rough = (value: number): number => value < 100 ? Math.round(value) : Number(value.toPrecision(2))

const cut = (text: string): string => text.length > MAX_TEXT ? `${text.slice(0, MAX_TEXT)}…` : text

/** Samples the activity of this node's connections. */
export class ConnectionSamples {
  readonly #core: Core
  /** Bytes at the last sample. */
  #seen = new Map<Connection, { read: number, written: number }>()
  /** The last sample, the most active connection first. */
  #sampled: Sampled[] = []
  #sampledAt = -Infinity
  readonly closed: NonNullable<NodeAnswer['closed']> = []

  constructor (core: Core) {
    this.#core = core
  }

  #sample (): void {
    const now = performance.now()
    if (now - this.#sampledAt < FRESH) return
    const seconds = (now - this.#sampledAt) / 1000
    this.#sampledAt = now
    const seen = new Map<Connection, { read: number, written: number }>()
    this.#sampled = Array.from(this.#core.hub, (connection) => {
      const bytes = connection.bytes
      const before = this.#seen.get(connection) ?? bytes
      seen.set(connection, bytes)
      const bytesIn = rough((bytes.read - before.read) / seconds)
      const bytesOut = rough((bytes.written - before.written) / seconds)
      return { connection, bytesIn, bytesOut, activity: bytesIn + bytesOut + connection.bufferedBytes }
    }).sort((a, b) => b.activity - a.activity)
    this.#seen = seen
  }

  /** The most active rows whose id, user, address or tags contain the filter. */
  view (filter: string): NonNullable<NodeAnswer['connections']>[number] {
    this.#sample()
    const wanted = filter.toLowerCase()
    const found = wanted === '' ? this.#sampled : this.#sampled.filter(({ connection }) => matches(connection, wanted))
    return { filter, count: found.length, total: this.#sampled.length, rows: Object.fromEntries(found.slice(0, MAX_ROWS).map((each) => [each.connection.id, rowOf(each)])) }
  }

  detail (id: string): Omit<ConnectionDetail, 'missing'> {
    const [connection] = this.#core.hub.select({ to: { connection: id } })
    if (connection === undefined) return { keys: [], keyCount: 0 }
    const keys = this.#core.keyspace.subscriptions.keysOf(connection)
    return { keys: keys.slice(0, MAX_KEYS).map(cut), keyCount: keys.length }
  }

  userOf (id: string): string {
    const [connection] = this.#core.hub.select({ to: { connection: id } })
    return cut(connection?.context.userId ?? '')
  }

  ended ({ connectionId, userId = '', remoteAddress }: Connection['context'], code: number): void {
    this.closed.unshift({ id: connectionId, user: cut(userId), address: remoteAddress, at: Date.now(), code, reason: code === ABNORMAL ? 'LOST' : closeReason(code) })
    this.closed.length = Math.min(MAX_CLOSED, this.closed.length)
  }
}

/** The close code of a connection that ended without a close frame (RFC 6455 section 7.1.5). */
const ABNORMAL = 1006

function matches ({ id, context: { userId = '', remoteAddress, tags } }: Connection, wanted: string): boolean {
  return [id, userId, remoteAddress, ...tags].some((text) => text.toLowerCase().includes(wanted))
}

function rowOf ({ connection: { context, connectedAt, protocol, subscriptions, bufferedBytes, calls }, bytesIn, bytesOut }: Sampled): Row {
  const { userId = '', remoteAddress: address } = context
  const tags = []
  for (const tag of context.tags) {
    if (tags.length === MAX_TAGS) break
    tags.push(cut(tag))
  }
  return { user: cut(userId), address, protocol, connectedAt, subscriptions, bufferedBytes, calls: calls?.size ?? 0, bytesIn, bytesOut, tags }
}
