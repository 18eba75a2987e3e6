import { fakeServer } from './fake-server.js'
import { records } from './records.js'

export interface Sustained { records: number, updates: number, cpu: number, longest: number }

/**
 * Updates of one field, one after the other, for so long that the log outgrows the value and is
 * replaced by a new snapshot: the one thing that costs as much as the whole value weighs. A number
 * of updates that no scenario reaches, so it is measured apart from them.
 */
export async function sustained (): Promise<Sustained[]> {
  const results = []
  for (const [count, updates] of [[1000, 20_000], [100_000, 220_000]] as const) {
    const { ds } = fakeServer()
    await ds.primitives.live.setState('state', { records: records(count) })
    let longest = 0
    const { user, system } = process.cpuUsage()
    for (let i = 1; i <= updates; i++) {
      const start = performance.now()
      await ds.primitives.live.update('state', (draft) => { (draft as { records: Array<{ value: number }> }).records[500]!.value = i })
      longest = Math.max(longest, performance.now() - start)
    }
    const used = process.cpuUsage()
    results.push({ records: count, updates, cpu: (used.user + used.system - user - system) / updates, longest })
  }
  return results
}
