import type { BackendLog } from '../backend.js'
import type { PostgresClient } from './postgres-options.js'
import type { IndexStatements } from './postgres-tables.js'

/**
 * Builds the index on the names of keys, for tables of an older version. Commits continue meanwhile, and the node's
 * start does not wait for it. Without the index, a node that starts reads the whole table. An advisory lock makes sure
 * that only one process builds it, because two concurrent builds on one table would deadlock.
 */
export class PostgresIndex {
  readonly #client: PostgresClient
  readonly #sql: IndexStatements
  #isClosed = false

  /** @param client a separate connection, because the lock ends with it */
  constructor (client: PostgresClient, sql: IndexStatements) {
    this.#client = client
    this.#sql = sql
    client.on('error', () => {}) // the running query rejects
  }

  /** Resolves when the index is built, or cannot be built. Never rejects. */
  async build (log: BackendLog | undefined): Promise<void> {
    try {
      await this.#client.connect()
      await this.#client.query({ text: this.#sql.setUp })
      const { rows: [row] } = await this.#client.query({ text: this.#sql.lock })
      if (row!.locked !== true) return
      // an interrupted build has left an invalid index, which is never used
      const { rows: [left] } = await this.#client.query({ text: this.#sql.isBroken })
      if (left!.broken === true) await this.#client.query({ text: this.#sql.drop })
      await this.#client.query({ text: this.#sql.build })
    } catch (error) {
      if (!this.#isClosed) log?.error({ err: error }, `the index of live keys could not be built, so nodes with many live keys start slowly. Run: ${this.#sql.build}`)
    } finally {
      this.#client.end().catch(() => {}) // the connection is closed already
    }
  }

  /** Closes the connection. Postgres finishes a running build, or the next node that starts builds the index again. */
  close (): void {
    this.#isClosed = true
    this.#client.connection.stream.destroy()
  }
}
