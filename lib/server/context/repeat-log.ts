import type { Logger } from './logger.js'

/** ms between two log lines that report the number of repetitions. */
const INTERVAL = 10_000

interface Repeated { fields: object, count: number, timer: NodeJS.Timeout }

/**
 * Logs warnings that clients can cause often. The first of a class is logged at once. After each interval one line has
 * the number of repetitions (`repeated`) and the last fields. So a bad client cannot flood the log.
 */
export class RepeatLog {
  readonly #log: Logger
  readonly #intervalMs: number
  /** By text. The texts are constants in the code, so that there are few. */
  readonly #classes = new Map<string, Repeated>()

  constructor (log: Logger, intervalMs = INTERVAL) {
    this.#log = log
    this.#intervalMs = intervalMs
  }

  warn (fields: object, text: string): void {
    const known = this.#classes.get(text)
    if (known !== undefined) {
      known.count++
      known.fields = fields
      return
    }
    this.#log.warn(fields, text)
    const timer = setInterval(() => { if (!this.#tell(text)) this.#forget(text) }, this.#intervalMs).unref()
    this.#classes.set(text, { fields, count: 0, timer })
  }

  stop (): void {
    for (const text of this.#classes.keys()) {
      this.#tell(text)
      this.#forget(text)
    }
  }

  /** @returns whether there was something to log */
  #tell (text: string): boolean {
    const known = this.#classes.get(text)!
    if (known.count === 0) return false
    this.#log.warn({ ...known.fields, repeated: known.count }, text)
    known.count = 0
    return true
  }

  #forget (text: string): void {
    clearInterval(this.#classes.get(text)!.timer)
    this.#classes.delete(text)
  }
}
