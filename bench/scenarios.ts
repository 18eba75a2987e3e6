import { type Figure, compare } from './compare.js'
import type { Command } from './server.js'
import { Subject } from './subject.js'

/** Calls that are echoed, beside bare ws with JSON.parse and JSON.stringify. */
export async function echo (): Promise<Figure[]> {
  const figures = []
  for (const depth of [1, 10]) {
    const calls = 6000
    figures.push({
      name: `RPC echo, 50 connections, ${depth} under way on each`,
      unit: 'µs per call',
      target: '≤ 2',
      ...await compare({ connections: 50, measure: async (subject) => await subject.cost(() => subject.echo(calls, depth)) / calls })
    })
  }
  return figures
}

/** One event to 1,000 connections, beside bare ws that writes a frame built once. */
export async function fanout (): Promise<Figure[]> {
  const connections = 1000
  const rounds = 12
  const { ours, theirs, ratio: [low, median, high] } = await compare({
    connections,
    measure: async (subject) => await subject.cost(() => subject.rounds(rounds, { do: 'broadcast', bytes: subject.kind === 'ws' ? 100 : 100 - ENVELOPE })) / (rounds * connections)
  })
  return [{
    name: 'event of 100 bytes to 1,000 connections',
    unit: 'deliveries per CPU second',
    target: '≥ 0.8',
    ours: 1e6 / ours,
    theirs: 1e6 / theirs,
    ratio: [1 / high, 1 / median, 1 / low]
  }]
}

/** What frame and JSON take around the data of a broadcast, so that both sides send as much. */
const ENVELOPE = 9 + '{"event":"tick","data":"","timestamp":1700000000000}'.length

/** A change of a large state, mirrored, beside sending as many bytes, prepared, to as many. */
export async function live (): Promise<Figure[]> {
  const figures = []
  for (const records of [1000, 100_000]) {
    figures.push(await mirrored(`one field of ${records.toLocaleString('en')} records`, records, 200, { do: 'update' }, '< 1.5'))
  }
  for (const [connections, target] of [[200, '≤ 1.2'], [1, '270 µs']] as const) {
    for (const frozen of [false, true]) {
      figures.push(await mirrored(`setState of 1,000 ${frozen ? 'frozen ' : ''}records, two edited,`, 1000, connections, { do: 'set', frozen }, target))
    }
  }
  return figures
}

async function mirrored (what: string, records: number, connections: number, change: Command, target: string): Promise<Figure> {
  const rounds = 60
  let bytes = 0
  const result = await compare({
    connections,
    prepare: async (subject) => {
      if (subject.kind === 'ws') return
      await subject.ask({ do: 'state', records })
      await subject.subscribe('state')
      bytes = await subject.nextLength(change)
    },
    measure: async (subject) => {
      return await subject.cost(() => subject.rounds(rounds, subject.kind === 'ws' ? { do: 'send', bytes } : change)) / rounds
    }
  })
  return { name: `${what} to ${connections} mirrors (${bytes} bytes)`, unit: 'µs per update', target, ...result }
}

/** What connections hold that do nothing, after garbage collection. */
export async function idle (): Promise<Figure[]> {
  const connections = 5000
  const [ours, theirs] = [await held('datasole', connections), await held('ws', connections)]
  return (['heap', 'rss'] as const).map((kind) => {
    const ratio = ours[kind] / theirs[kind]
    return { name: `one of ${connections.toLocaleString('en')} idle connections, ${kind}`, unit: 'KiB', target: '', ours: ours[kind], theirs: theirs[kind], ratio: [ratio, ratio, ratio] }
  })
}

async function held (kind: 'datasole' | 'ws', connections: number): Promise<{ heap: number, rss: number }> {
  const subject = await new Subject(kind).start()
  try {
    // code that is compiled and tables that grow with the first connections are not theirs
    await subject.connect(500)
    const before = await subject.ask({ do: 'memory' })
    await subject.connect(connections)
    const after = await subject.ask({ do: 'memory' })
    return { heap: (after.heap - before.heap) / connections / 1024, rss: (after.rss - before.rss) / connections / 1024 }
  } finally {
    await subject.stop()
  }
}
