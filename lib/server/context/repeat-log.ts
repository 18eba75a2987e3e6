import type { Logger } from './logger.js'

/** ms that repetitions are counted before a line tells their number. */
const INTERVAL = 10_000

interface Repeated { fields: object, count: number, timer: NodeJS.Timeout }

/**
 * Logs what clients can cause often: the first of a class at once, and after each interval one line with the number
 * of those since (`repeated`) and the fields of the last. A client that sends nonsense cannot fill the log.
 */
export class RepeatLog {
  readonly #log: Logger
  readonly #intervalMs: number
  /** By text. The texts are in the code, so that there are few. */
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

  /** @returns whether there was something to tell */
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
