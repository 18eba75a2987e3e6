import type { BackendLog } from '../backend.js'
import type { PostgresClient } from './postgres-options.js'
import type { IndexStatements } from './postgres-tables.js'

/**
 * Builds the index on the names of keys for tables of an older version. Commits go on meanwhile, and nobody waits
 * for it: without the index, a node that starts reads the whole table. One process of all builds it.
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

  /** Ends once it is built, or cannot be. */
  async build (log: BackendLog | undefined): Promise<void> {
    try {
      await this.#client.connect()
      const { rows: [row] } = await this.#client.query({ text: this.#sql.lock })
      if (row!.locked !== true) return
      // a process that was killed has left an index that is never used
      const { rows: [left] } = await this.#client.query({ text: this.#sql.isBroken })
      if (left!.broken === true) await this.#client.query({ text: this.#sql.drop })
      await this.#client.query({ text: this.#sql.build })
    } catch (error) {
      if (!this.#isClosed) log?.error({ err: error }, `a node starts slower the more live keys there are, until this has succeeded: ${this.#sql.build}`)
    } finally {
      this.#client.end().catch(() => {}) // it is gone already
    }
  }

  /** An index that is under way is built to its end by Postgres, or again by the next node that starts. */
  close (): void {
    this.#isClosed = true
    this.#client.connection.stream.destroy()
  }
}
