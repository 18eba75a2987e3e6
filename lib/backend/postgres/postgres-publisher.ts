import type { Statement, Statements } from './postgres-statements.js'

interface Message {
  channel: string
  text: string
  resolve (): void
  reject (error: unknown): void
}

/** Bytes of a notification, less some for the kind of a notice; Postgres refuses 8,000. */
export const MAX_NOTIFICATION = 7900

/** Messages that one statement may carry. */
const MAX_BATCH = 200

/**
 * Messages, in their order: those that different connections of a pool send overtake each other. While one
 * statement is under way, the next ones gather for another.
 */
export class PostgresPublisher {
  readonly #sql: Statements
  readonly #query: (statement: Statement, values: unknown[]) => Promise<unknown>
  readonly #waiting: Message[] = []
  #sending: Promise<void> | undefined

  constructor (sql: Statements, query: (statement: Statement, values: unknown[]) => Promise<unknown>) {
    this.#sql = sql
    this.#query = query
  }

  async publish (channel: string, text: string): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#waiting.push({ channel, text, resolve, reject })
      this.#sending ??= this.#send()
    })
  }

  /** Resolves once nothing waits. */
  async drain (): Promise<void> {
    await this.#sending
  }

  async #send (): Promise<void> {
    while (this.#waiting.length > 0) {
      const batch = this.#next()
      const { channel, text } = batch[0]!
      try {
        if (isLong(text)) await this.#query(this.#sql.post, [channel, text])
        else await this.#query(this.#sql.notify, [batch.map(({ channel }) => channel), batch.map(({ text }) => text)])
        for (const message of batch) message.resolve()
      } catch (error) {
        for (const message of batch) message.reject(error)
      }
    }
    this.#sending = undefined
  }

  /** A long one goes alone, and of equal ones Postgres would deliver only the first of a transaction. */
  #next (): Message[] {
    const seen = new Set<string>()
    let count = 0
    for (const { channel, text } of this.#waiting) {
      const pair = channel + text
      if (count === MAX_BATCH || seen.has(pair) || (count > 0 && isLong(text))) break
      seen.add(pair)
      count++
      if (isLong(text)) break
    }
    return this.#waiting.splice(0, count)
  }
}

function isLong (text: string): boolean {
  return Buffer.byteLength(text) > MAX_NOTIFICATION
}
