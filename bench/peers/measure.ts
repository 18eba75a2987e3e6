import type { Answer, Remote } from './control.js'
import type { Fleet } from './fleet.js'
import type { Protocol } from './peer.js'

/** By the heading of a column: what was measured, in its unit. */
export type Figures = Record<string, number>

export interface Run {
  variant: string
  /** Of a measurement, in ms. */
  ms: number
  /** Before it, until code is compiled, in ms. */
  warmUp: number
  protocol: Protocol
  /** One, but for the scenario of two nodes. */
  remotes: Remote[]
  fleet: Fleet
}

/** A part of the load: CPU of the server and of this process, while `work` runs. */
export async function measure ({ remotes }: Run, work: () => Promise<unknown>): Promise<{ cpu: number, elapsed: number, load: number }> {
  const usage = (): Promise<Answer[]> => Promise.all(remotes.map((remote) => remote.ask({ do: 'usage' })))
  const sum = (answers: Answer[]): number => answers.reduce((cpu, answer) => cpu + answer.cpu, 0)
  const before = sum(await usage())
  const own = process.cpuUsage()
  const began = performance.now()
  await work()
  const elapsed = performance.now() - began
  const { user, system } = process.cpuUsage(own)
  return { cpu: sum(await usage()) - before, elapsed, load: (user + system) / elapsed / 10 }
}

export function quantiles (values: number[]): { p50: number, p99: number } {
  const sorted = Float64Array.from(values).sort()
  return { p50: sorted[Math.floor(sorted.length * 0.5)]!, p99: sorted[Math.floor(sorted.length * 0.99)]! }
}
