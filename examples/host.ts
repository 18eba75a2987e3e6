import { type CpuInfo, cpus, freemem, hostname, loadavg, totalmem } from 'node:os'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import type { MetricsSnapshot } from 'datasole/server'
import type { Host } from './contract.js'

/** Looks at this machine, each time at what has happened since the last look. */
export class HostWatch {
  readonly #delay = monitorEventLoopDelay({ resolution: 10 })
  #cores = cpus()
  #metrics: MetricsSnapshot | undefined

  constructor () {
    this.#delay.enable()
  }

  look (metrics: MetricsSnapshot): Host {
    const cores = cpus()
    const before = this.#metrics ?? metrics
    const seconds = Math.max(metrics.uptime - before.uptime, 0.001)
    const host: Host = {
      name: hostname(),
      cores: cores.map((core, i) => round(busy(core, this.#cores[i] ?? core))),
      memory: { used: totalmem() - freemem(), total: totalmem() },
      load: loadavg().map(round),
      lag: round(this.#delay.max / 1e6),
      connections: metrics.connections,
      messages: round((metrics.messagesIn + metrics.messagesOut - before.messagesIn - before.messagesOut) / seconds),
      bytes: Math.round((metrics.bytesOut - before.bytesOut) / seconds)
    }
    this.#cores = cores
    this.#metrics = metrics
    this.#delay.reset()
    return host
  }

  stop (): void {
    this.#delay.disable()
  }
}

function busy (now: CpuInfo, before: CpuInfo): number {
  const sum = (times: CpuInfo['times']): number => Object.values(times).reduce((a, b) => a + b, 0)
  const total = sum(now.times) - sum(before.times)
  return total === 0 ? 0 : 1 - (now.times.idle - before.times.idle) / total
}

function round (value: number): number {
  return Math.round(value * 100) / 100
}
