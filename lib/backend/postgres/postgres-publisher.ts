import type { Statement, Statements } from './postgres-statements.js'

interface Message {
  channel: string
  text: string
  resolve (): void
  reject (error: unknown): void
}

/** Most bytes of a notification. Postgres accepts 7,999, and the prefix of a notice needs some. */
export const MAX_NOTIFICATION = 7900

/** Messages per statement. */
const MAX_BATCH = 200

/**
 * Publishes messages in order, one statement at a time, because connections of a pool would overtake each other.
 * Messages that arrive during a statement are sent together in the next one.
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

  /** Resolves when no message waits. */
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

  /** Takes the next batch. A long message is a batch of its own. Postgres drops equal messages of one transaction. */
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
