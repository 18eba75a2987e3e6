import { Socket } from 'node:net'
import type { PostgresPool, PostgresPoolClient, Query } from './postgres-options.js'

export type Row = Record<string, unknown>

/** The package pg. */
export interface PostgresDriver {
  Pool: new (options: object) => unknown
  Client: new (options: object) => unknown
}

/** ms after which a query is given up and its connection closed: it may be half-open. */
const QUERY_TIMEOUT = 4000

/** ms without an answer after which a connection is suspected, where another is found to be half-open. */
const MAX_SILENCE = 2000

/** ms that a pool may take to find a connection; one of a user's may know no limit. */
const ACQUIRE_TIMEOUT = 4000

/** The connections that ask: a pool of our own, or a user's, which is left open. */
export class PostgresQueries {
  readonly #pool: PostgresPool
  readonly #isOwn: boolean
  /** Those of our own pool, and when something was heard of them. One that does not answer would keep the process alive. */
  readonly #sockets = new Map<Socket, number>()
  readonly #underWay = new Set<Promise<Row[]>>()
  /** What a pool that ends forgets: those that wait for a connection. */
  readonly #waiting = new Set<(error: Error) => void>()

  /** @param options of a pool of our own, where there is no other */
  constructor ({ Pool }: PostgresDriver, pool: PostgresPool | undefined, options: object) {
    this.#isOwn = pool === undefined
    this.#pool = pool ?? new Pool({ ...options, stream: () => this.#socket() }) as PostgresPool
    this.#pool.on('error', ignore)
  }

  /** @param onSent called when there is a connection: from then on it may have taken effect */
  async query (query: Query, onSent?: () => void): Promise<Row[]> {
    const asked = this.#ask(query, onSent)
    this.#underWay.add(asked)
    try {
      return await asked
    } finally {
      this.#underWay.delete(asked)
    }
  }

  /** Where one connection is half-open others may be, and each would take as long to be noticed. */
  cutSilent (silentSince = performance.now() - MAX_SILENCE): void {
    for (const [socket, heardAt] of this.#sockets) if (heardAt < silentSince) socket.destroy()
  }

  /** @param late when what is under way is cut off */
  async close (late: Promise<void>): Promise<void> {
    if (!this.#isOwn) {
      this.#pool.removeListener('error', ignore)
      return
    }
    await Promise.race([Promise.allSettled(this.#underWay), late])
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
      // with a failure the pool closes it, at once where an answer is still awaited
      giveBack(client, failure)
    }
  }

  async #acquire (): Promise<PostgresPoolClient> {
    const acquired = new Promise<PostgresPoolClient>((resolve, reject) => {
      this.#pool.connect((error, client) => {
        if (client === undefined) return reject(error)
        // a pool does not listen to those that it gives away, and one may fail before a promise tells us of it
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

/** What a connection says when it ends; the next query gets another. */
function ignore (): void {}
