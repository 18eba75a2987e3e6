import { setTimeout } from 'node:timers/promises'
import { WebSocket } from 'ws'
import { LiveClient } from '../lib/client/client.js'
import { Subject } from './subject.js'

/** Connections, seconds of a measurement, and how often each is made. */
const CONNECTIONS = 1000
const SECONDS = 5
const ROUNDS = 3
/** ms between two broadcasts to all connections, so that every row of a table changes with every sample. */
const PACE = 500

/** Share of one core that the server takes (%), the median of several rounds. */
export interface InspectorCost { what: string, cpu: number }

/** CPU of a server with 1,000 connections, without a viewer of its inspector and with one, taken in turns. */
export async function inspectorCost (): Promise<InspectorCost[]> {
  const subject = await new Subject('datasole', { INSPECTOR: '/inspector' }).start()
  try {
    await subject.connect(CONNECTIONS)
    await subject.ask({ do: 'state', records: 1000 })
    await subject.subscribe('state')
    const views: Array<[string, string[]]> = [['nobody looks', []], ['one at the overview', ['overview']], ['one at the connections', ['connections:']], ['one at all four views', ['overview', 'connections:', 'keys:', 'methods']]]
    const taken = new Map<string, number[]>()
    for (let round = 0; round <= ROUNDS; round++) {
      for (const [what, keys] of views) {
        const cpu = await measured(subject, keys)
        if (round > 0) taken.set(what, [...taken.get(what) ?? [], cpu]) // the first one compiles
      }
    }
    return Array.from(taken, ([what, all]) => ({ what, cpu: all.sort((a, b) => a - b)[Math.floor(all.length / 2)]! }))
  } finally {
    await subject.stop()
  }
}

async function measured (subject: Subject, keys: string[]): Promise<number> {
  const client = keys.length === 0 ? undefined : new LiveClient({ url: `${subject.origin}/inspector`, path: '/live', webSocket: WebSocket as never, useWorker: false })
  // until nothing is measured any more
  if (client === undefined) await setTimeout(6500)
  await client?.connect()
  for (const key of keys) client!.subscribeState(key, () => {})
  await setTimeout(1500)
  const load = setInterval(() => {
    subject.tell({ do: 'broadcast', bytes: 100 })
    subject.tell({ do: 'update' })
  }, PACE)
  await setTimeout(500)
  const before = await subject.ask({ do: 'cpu' })
  const began = performance.now()
  await setTimeout(SECONDS * 1000)
  const after = await subject.ask({ do: 'cpu' })
  const cpu = (after.cpu - before.cpu) / 1000 / (performance.now() - began) * 100
  clearInterval(load)
  await client?.disconnect()
  return cpu
}
