import { type CpuInfo, cpus, freemem, loadavg, totalmem } from 'node:os'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import type { MetricsSnapshot } from 'datasole/server'
import type { Sample } from './contract.js'

/** Interval in ms for sampling the event loop's delay. */
const RESOLUTION = 10

/** Samples the load of this machine. Each sample covers the time since the last one. */
export class HostWatch {
  readonly #delay = monitorEventLoopDelay({ resolution: RESOLUTION })
  #cores = cpus()
  #metrics: MetricsSnapshot

  constructor (metrics: MetricsSnapshot) {
    this.#metrics = metrics
    this.#delay.enable()
  }

  look (metrics: MetricsSnapshot): Sample {
    const cores = cpus()
    const before = this.#metrics
    const seconds = Math.max(metrics.uptime - before.uptime, 0.001)
    const sample: Sample = {
      cores: cores.map((core, i) => round(busy(core, this.#cores[i] ?? core), 3)),
      memory: totalmem() - freemem(),
      load: loadavg().map((load) => round(load, 2)),
      // the histogram includes the interval between two samples, which is no delay
      lag: round(Math.max(this.#delay.max / 1e6 - RESOLUTION, 0), 1),
      connections: metrics.connections,
      messages: round((metrics.messagesIn + metrics.messagesOut - before.messagesIn - before.messagesOut) / seconds, 1),
      sent: round((metrics.bytesOut - before.bytesOut) / seconds, 0)
    }
    this.#cores = cores
    this.#metrics = metrics
    this.#delay.reset()
    return sample
  }

  stop (): void {
    this.#delay.disable()
  }
}

function busy (now: CpuInfo, before: CpuInfo): number {
  const sum = (times: CpuInfo['times']): number => Object.values(times).reduce((a, b) => a + b, 0)
  const total = sum(now.times) - sum(before.times)
  return total <= 0 ? 0 : Math.min(Math.max(1 - (now.times.idle - before.times.idle) / total, 0), 1)
}

function round (value: number, digits: number): number {
  return Number(value.toFixed(digits))
}
