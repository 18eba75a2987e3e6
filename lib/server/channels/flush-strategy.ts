/** When changes are sent to subscribers and handlers. They are always committed at once. */
export type FlushOptions =
  /** Each change at once. */
  | { flushStrategy: 'immediate' }
  /** `batchIntervalMs` (default 100) after the first change, or at `maxBatchSize` changes (default: no maximum). */
  | { flushStrategy: 'batched', batchIntervalMs?: number, maxBatchSize?: number }
  /** After `debounceMs` (default 300) without a change, but at most ten times that after the first change. */
  | { flushStrategy: 'debounced', debounceMs?: number }

/** A debounced change waits at most this many times `debounceMs`. */
const PATIENCE = 10

/** Longest wait in ms, so that `PATIENCE` times it still fits a timer of Node.js. */
const MAX_MS = (2 ** 31 - 1) / PATIENCE

/** The options with every default applied. */
export interface FlushRule { strategy: FlushOptions['flushStrategy'], ms: number, maxChanges: number }

/** @param refuse throws an error that names the option */
export function resolveFlush (flush: FlushOptions, refuse: (option: string, why: string) => never): FlushRule {
  if (typeof flush !== 'object' || flush === null) refuse('flush', 'must be an object with a flushStrategy')
  const { flushStrategy: strategy } = flush
  const known: Record<string, readonly string[]> = { immediate: [], batched: ['batchIntervalMs', 'maxBatchSize'], debounced: ['debounceMs'] }
  if (!Object.hasOwn(known, strategy)) refuse('flush.flushStrategy', 'must be "immediate", "batched" or "debounced"')
  for (const name of Object.keys(flush)) {
    if (name !== 'flushStrategy' && !known[strategy]!.includes(name)) refuse(`flush.${name}`, `is not an option of the strategy "${strategy}"`)
  }
  const whole = (name: string, value: number, most: number): number => {
    if (!Number.isInteger(value) || value < 1 || value > most) refuse(`flush.${name}`, `must be a whole number from 1${most === MAX_MS ? ` to ${Math.floor(most)}` : ''}`)
    return value
  }
  switch (flush.flushStrategy) {
    case 'batched': {
      const { batchIntervalMs = 100, maxBatchSize } = flush
      return { strategy, ms: whole('batchIntervalMs', batchIntervalMs, MAX_MS), maxChanges: maxBatchSize === undefined ? Infinity : whole('maxBatchSize', maxBatchSize, Number.MAX_SAFE_INTEGER) }
    }
    case 'debounced':
      return { strategy, ms: whole('debounceMs', flush.debounceMs ?? 300, MAX_MS), maxChanges: Infinity }
    default:
      return { strategy, ms: 0, maxChanges: 1 }
  }
}

/** Calls `due` according to a rule. It uses at most one timer, whatever the number of changes. */
export class FlushClock {
  readonly #rule: FlushRule
  readonly #due: () => void
  #timer: NodeJS.Timeout | undefined
  #changes = 0
  #first = 0
  #last = 0

  constructor (rule: FlushRule, due: () => void) {
    this.#rule = rule
    this.#due = due
  }

  changed (count = 1): void {
    const { strategy, ms, maxChanges } = this.#rule
    if (this.#changes === 0) this.#first = performance.now()
    this.#changes += count
    if (this.#changes >= maxChanges) return this.flush()
    if (strategy === 'debounced') this.#last = performance.now()
    this.#timer ??= this.#wake(ms)
  }

  /** Calls `due` now, if there are changes. */
  flush (): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    if (this.#changes === 0) return
    this.#changes = 0
    this.#due()
  }

  #wake (ms: number): NodeJS.Timeout {
    return setTimeout(this.#look, ms).unref()
  }

  /** When the timer fires, a debounce checks the time of the last change. It does not reset the timer per change. */
  readonly #look = (): void => {
    const { strategy, ms } = this.#rule
    const wait = strategy === 'debounced' ? Math.min(this.#last + ms, this.#first + PATIENCE * ms) - performance.now() : 0
    if (wait >= 1) this.#timer = this.#wake(wait)
    else this.flush()
  }
}
