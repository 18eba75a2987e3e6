import { ByLabel } from '../metrics/by-label.js'
import type { DurationName, Recorder } from '../server/metrics/recorder.js'
import { Histogram } from './histogram.js'
import { FRESH, type MethodSample } from './views.js'

/** The calls of a method, or the events with a name, since recording started. */
class Series {
  readonly histogram = new Histogram()
  errors = 0
  /** Number of calls at the last sample. */
  calls = 0
}

const KINDS = { rpc: 'method', event: 'event' } as const

/** Records durations while there are viewers: per method and event, and for all commits and all fan-outs. */
export class LatencyRecorder implements Recorder {
  readonly since = Date.now()
  readonly commit = new Histogram()
  readonly fanout = new Histogram()
  #sampledAt = -Infinity
  #samples: MethodSample[] = []
  readonly #series = new ByLabel<Series>(() => new Series())

  observe (name: DurationName, label: string, ms: number, hasFailed = false): void {
    if (name === 'commit') return this.commit.observe(ms)
    if (name === 'fanout') return this.fanout.observe(ms)
    if (name !== 'rpc' && name !== 'event') return
    const series = this.#series.of(name, label)
    series.histogram.observe(ms)
    if (hasFailed) series.errors++
  }

  /**
   * Returns all called methods and received events, then registered methods without a call.
   * @param scopes the scopes of the registered methods, by name
   */
  sample (scopes: ReadonlyMap<string, string>): MethodSample[] {
    const now = performance.now()
    if (now - this.#sampledAt < FRESH) return this.#samples
    const seconds = (now - this.#sampledAt) / 1000
    this.#sampledAt = now
    const samples: MethodSample[] = []
    for (const name of ['rpc', 'event'] as const) {
      for (const [label, series] of this.#series.all(name)) {
        const { histogram, errors } = series
        const { count: calls, sum, max } = histogram
        samples.push({ kind: KINDS[name], name: label, scope: name === 'rpc' ? scopes.get(label) ?? '' : '', calls, errors, sum, max, rate: (calls - series.calls) / seconds, buckets: histogram.pairs() })
        series.calls = calls
      }
    }
    const called = this.#series.all('rpc')
    for (const [name, scope] of scopes) if (!called.has(name)) samples.push({ kind: 'method', name, scope, calls: 0, errors: 0, sum: 0, max: 0, rate: 0, buckets: [] })
    this.#samples = samples.sort((a, b) => b.rate - a.rate || b.calls - a.calls)
    return samples
  }
}
