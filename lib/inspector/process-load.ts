import { type IntervalHistogram, monitorEventLoopDelay, performance } from 'node:perf_hooks'
import type { NodeView, Quantiles } from './views.js'

/** Interval in ms for sampling the event loop's delay. Each sample wakes the process, so a short interval is expensive. */
const RESOLUTION = 50
const NS = 1e6

/** Measures the load of this process, until `stop`. */
export class ProcessLoad {
  readonly #delay: IntervalHistogram = monitorEventLoopDelay({ resolution: RESOLUTION })
  #cpu = process.cpuUsage()
  #loop = performance.eventLoopUtilization()
  #at = performance.now()

  constructor () {
    this.#delay.enable()
  }

  stop (): void {
    this.#delay.disable()
  }

  /** The load since the last call. */
  take (): Pick<NodeView, 'cpu' | 'utilization' | 'rss' | 'heap' | 'delay'> {
    const now = performance.now()
    const { user, system } = process.cpuUsage(this.#cpu)
    const loop = performance.eventLoopUtilization()
    const { utilization } = performance.eventLoopUtilization(loop, this.#loop)
    const cpu = (user + system) / 1000 / Math.max(1, now - this.#at)
    const delay = this.#takeDelay()
    this.#cpu = process.cpuUsage()
    this.#loop = loop
    this.#at = now
    const { rss, heapUsed: heap } = process.memoryUsage()
    return { cpu, utilization, rss, heap, delay }
  }

  /** Subtracts the resolution, because Node.js measures the time between two samples. */
  #takeDelay (): Quantiles {
    const { count } = this.#delay
    const ms = (ns: number): number => count === 0 ? 0 : Math.max(0, ns / NS - RESOLUTION)
    const taken = { count, p50: ms(this.#delay.percentile(50)), p99: ms(this.#delay.percentile(99)), max: ms(this.#delay.max) }
    this.#delay.reset()
    return taken
  }
}
