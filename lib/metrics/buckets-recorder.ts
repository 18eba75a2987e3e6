import type { DurationName, Recorder } from '../server/metrics/recorder.js'
import { ByLabel } from './by-label.js'
import { BOUNDS } from './catalog.js'

const MS_BOUNDS = BOUNDS.map((seconds) => seconds * 1000)

/** The durations with one label. */
export interface Series {
  /** One count per bound, and one for durations above all bounds; not cumulative. */
  readonly counts: Float64Array
  sumMs: number
}

/** Counts durations in buckets, by label. An observation of a known label allocates nothing. */
export class BucketsRecorder implements Recorder {
  readonly #series = new ByLabel<Series>(() => ({ counts: new Float64Array(MS_BOUNDS.length + 1), sumMs: 0 }))

  observe (name: DurationName, label: string, ms: number): void {
    const series = this.#series.of(name, label)
    series.sumMs += ms
    let bucket = 0
    while (bucket < MS_BOUNDS.length && ms > MS_BOUNDS[bucket]!) bucket++
    series.counts[bucket]!++
  }

  /** The series of a duration, by label. */
  series (name: DurationName): ReadonlyMap<string, Series> {
    return this.#series.all(name)
  }
}
