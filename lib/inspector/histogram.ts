import type { Quantiles } from './views.js'

/** Buckets per doubling of the duration. A quantile is at most 9 % too high. */
const PER_OCTAVE = 8
/** The upper bound of the first bucket in ms. The last bucket counts all durations above two minutes. */
const LEAST = 0.001
const BUCKETS = 27 * PER_OCTAVE + 1

const upperBound = (bucket: number): number => LEAST * 2 ** (bucket / PER_OCTAVE)

/** Counts durations in buckets whose width grows with the duration. An observation allocates nothing. */
export class Histogram {
  readonly #counts = new Uint32Array(BUCKETS)
  count = 0
  sum = 0
  max = 0

  observe (ms: number): void {
    this.#counts[ms <= LEAST ? 0 : Math.min(BUCKETS - 1, Math.ceil(Math.log2(ms / LEAST) * PER_OCTAVE))]!++
    this.count++
    this.sum += ms
    if (ms > this.max) this.max = ms
  }

  /** Pairs of a bucket and its count, to send to another node. */
  pairs (): number[] {
    const pairs: number[] = []
    for (let i = 0; i < BUCKETS; i++) if (this.#counts[i]! > 0) pairs.push(i, this.#counts[i]!)
    return pairs
  }

  /** Adds the counts of another node. */
  merge (pairs: readonly number[], sum: number, max: number): void {
    for (let i = 0; i + 1 < pairs.length; i += 2) {
      this.#counts[Math.min(BUCKETS - 1, Math.max(0, pairs[i]!))]! += pairs[i + 1]!
      this.count += pairs[i + 1]!
    }
    this.sum += sum
    this.max = Math.max(this.max, max)
  }

  quantiles (): Quantiles {
    return { count: this.count, p50: this.#quantile(0.5), p99: this.#quantile(0.99), max: this.max }
  }

  /** Returns the quantiles since the last call, and resets the counts. */
  take (): Quantiles {
    const taken = this.quantiles()
    this.#counts.fill(0)
    this.count = this.sum = this.max = 0
    return taken
  }

  /** A quantile, bounded by the longest observed duration. */
  #quantile (share: number): number {
    let left = Math.ceil(this.count * share)
    if (left === 0) return 0
    for (let i = 0; i < BUCKETS; i++) {
      left -= this.#counts[i]!
      if (left <= 0) return Math.min(this.max, upperBound(i))
    }
    return this.max
  }
}
