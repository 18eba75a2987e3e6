import type { BackendLog } from '../backend.js'
import type { PostgresClient } from './postgres-options.js'
import type { IndexStatements } from './postgres-tables.js'

/**
 * Builds the index on the names of keys for tables of an older version. Commits go on meanwhile, and the start of the
 * node does not wait. Until it is built, a node that starts reads the whole table. An advisory lock makes sure that
 * only one process builds it: two concurrent builds on one table would deadlock.
 */
export class PostgresIndex {
  readonly #client: PostgresClient
  readonly #sql: IndexStatements
  #isClosed = false

  /** @param client a connection of its own: its lock ends with it */
  constructor (client: PostgresClient, sql: IndexStatements) {
    this.#client = client
    this.#sql = sql
    client.on('error', () => {}) // the query that is under way rejects
  }

  /** Resolves once the index is built, or cannot be. Never rejects. */
  async build (log: BackendLog | undefined): Promise<void> {
    try {
      await this.#client.connect()
      await this.#client.query({ text: this.#sql.setUp })
      const { rows: [row] } = await this.#client.query({ text: this.#sql.lock })
      if (row!.locked !== true) return
      // a build that was cut off has left an index that is never used
      const { rows: [left] } = await this.#client.query({ text: this.#sql.isBroken })
      if (left!.broken === true) await this.#client.query({ text: this.#sql.drop })
      await this.#client.query({ text: this.#sql.build })
    } catch (error) {
      if (!this.#isClosed) log?.error({ err: error }, `a node starts slower the more live keys there are, until this has succeeded: ${this.#sql.build}`)
    } finally {
      this.#client.end().catch(() => {}) // it is gone already
    }
  }

  /** Postgres finishes a build under way, or the next node that starts builds the index again. */
  close (): void {
    this.#isClosed = true
    this.#client.connection.stream.destroy()
  }
}
