import { Socket } from 'node:net'
import type { PostgresPool, PostgresPoolClient, Query } from './postgres-options.js'

export type Row = Record<string, unknown>

/** The part of the package pg that is used here. */
export interface PostgresDriver {
  Pool: new (options: object) => unknown
  Client: new (options: object) => unknown
}

/** ms after which a query fails and its connection is closed, because it may be half-open. */
const QUERY_TIMEOUT = 4000

/** Connections without an answer for so many ms are closed, too, when another one has proved to be half-open. */
const MAX_SILENCE = 2000

/** ms that a pool may take to provide a connection. A custom pool may have no limit. */
const ACQUIRE_TIMEOUT = 4000

/** The connections for queries: an own pool, or a custom one, which is never closed. */
export class PostgresQueries {
  readonly #pool: PostgresPool
  readonly #isOwn: boolean
  /** The sockets of the own pool, with the time of their last answer. A silent one would keep the process alive. */
  readonly #sockets = new Map<Socket, number>()
  readonly #inFlight = new Set<Promise<Row[]>>()
  /** Rejects the queries that wait for a connection, because a pool that ends never calls them back. */
  readonly #waiting = new Set<(error: Error) => void>()

  /** @param options options of the own pool, if there is no `pool` */
  constructor ({ Pool }: PostgresDriver, pool: PostgresPool | undefined, options: object) {
    this.#isOwn = pool === undefined
    this.#pool = pool ?? new Pool({ ...options, stream: () => this.#socket() }) as PostgresPool
    this.#pool.on('error', ignore)
  }

  /** @param onSent called when the query has a connection; from then on it may take effect */
  async query (query: Query, onSent?: () => void): Promise<Row[]> {
    const asked = this.#ask(query, onSent)
    this.#inFlight.add(asked)
    try {
      return await asked
    } finally {
      this.#inFlight.delete(asked)
    }
  }

  /** Closes silent connections. If one is half-open, others may be, and each would need its own timeout. */
  cutSilent (silentSince = performance.now() - MAX_SILENCE): void {
    for (const [socket, heardAt] of this.#sockets) if (heardAt < silentSince) socket.destroy()
  }

  /** @param late resolves when running queries should be cut off */
  async close (late: Promise<void>): Promise<void> {
    if (!this.#isOwn) {
      this.#pool.removeListener('error', ignore)
      return
    }
    await Promise.race([Promise.allSettled(this.#inFlight), late])
    void late.then(() => { this.cutSilent(Infinity) })
    await this.#pool.end()
    for (const reject of this.#waiting) reject(new Error('the pool has ended'))
  }

  async #ask (query: Query, onSent?: () => void): Promise<Row[]> {
    const client = await this.#acquire()
    const { stream } = (client as unknown as { connection: { stream: Socket } }).connection
    const sentAt = performance.now()
    let failure: Error | undefined
    try {
      onSent?.()
      const { rows } = await client.query({ ...query, query_timeout: QUERY_TIMEOUT })
      if (this.#sockets.has(stream)) this.#sockets.set(stream, performance.now())
      return rows
    } catch (error) {
      failure = error as Error
      if (performance.now() - sentAt >= QUERY_TIMEOUT) this.cutSilent()
      throw error
    } finally {
      // the pool closes a connection that is released with an error
      giveBack(client, failure)
    }
  }

  async #acquire (): Promise<PostgresPoolClient> {
    const acquired = new Promise<PostgresPoolClient>((resolve, reject) => {
      this.#pool.connect((error, client) => {
        if (client === undefined) return reject(error)
        // the pool does not handle errors of a connection in use, which may fail before the promise resolves
        client.on('error', ignore)
        resolve(client)
      })
    })
    let timer: NodeJS.Timeout | undefined
    let giveUp = (_: Error): void => {}
    const late = new Promise<never>((_resolve, reject) => {
      giveUp = (error) => {
        reject(error)
        acquired.then((client) => { giveBack(client) }, ignore)
      }
      timer = setTimeout(giveUp, ACQUIRE_TIMEOUT, new Error(`the pool had no connection within ${ACQUIRE_TIMEOUT} ms`))
    })
    this.#waiting.add(giveUp)
    try {
      return await Promise.race([acquired, late])
    } finally {
      clearTimeout(timer)
      this.#waiting.delete(giveUp)
    }
  }

  #socket (): Socket {
    const socket = new Socket()
    this.#sockets.set(socket, performance.now())
    socket.once('close', () => { this.#sockets.delete(socket) })
    return socket
  }
}

function giveBack (client: PostgresPoolClient, failure?: Error): void {
  client.removeListener('error', ignore)
  client.release(failure)
}

/** Ignores errors of closed connections: the next query gets another connection. */
function ignore (): void {}
