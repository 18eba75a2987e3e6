import { Subject } from './subject.js'

export interface Figure { name: string, ours: number, theirs: number, unit: string, ratio: number, target: string }

/** Rounds of A and B in turn, so that a machine that slows down slows both; the median counts. */
const ROUNDS = 5

/** Calls that are echoed: server CPU per call beside bare ws with JSON.parse and JSON.stringify. */
export async function echo (): Promise<Figure[]> {
  const figures = []
  for (const depth of [1, 10]) {
    const { ours, theirs } = await compare(50, async (subject) => {
      const calls = 20_000
      return await subject.cost(() => subject.echo(calls, depth)) / calls
    })
    figures.push({ name: `RPC echo, 50 connections, ${depth} under way on each`, ours, theirs, unit: 'µs of CPU per call', ratio: ours / theirs, target: '≤ 2' })
  }
  return figures
}

/** One event to 1,000 connections, beside bare ws that writes a frame built once. */
export async function fanout (): Promise<Figure[]> {
  const connections = 1000
  const { ours, theirs } = await compare(connections, async (subject) => {
    const rounds = 40
    return await subject.cost(() => subject.rounds(rounds, { do: 'broadcast', bytes: subject.kind === 'ws' ? 100 : 100 - ENVELOPE })) / (rounds * connections)
  })
  return [{ name: 'fan-out of an event (100 bytes of payload) to 1,000 connections', ours: 1e6 / ours, theirs: 1e6 / theirs, unit: 'deliveries per CPU second', ratio: theirs / ours, target: '≥ 0.8' }]
}

/** What frame and JSON take around the data of a broadcast, so that both sides send as much. */
const ENVELOPE = 9 + '{"event":"tick","data":"","timestamp":1700000000000}'.length

/** One field of a large state, mirrored by 200, beside sending as many bytes, prepared, to 200. */
export async function liveState (): Promise<Figure[]> {
  const figures = []
  for (const records of [1000, 100_000]) {
    const connections = 200
    let bytes = 0
    const { ours, theirs } = await compare(connections, async (subject) => {
      const rounds = 300
      const command = subject.kind === 'ws' ? { do: 'send', bytes } as const : { do: 'update' } as const
      return await subject.cost(() => subject.rounds(rounds, command)) / rounds
    }, async (subject) => {
      if (subject.kind === 'ws') return
      await subject.ask({ do: 'state', records })
      await subject.subscribe('state')
      bytes = await subject.nextLength({ do: 'update' })
    })
    figures.push({ name: `one field of ${records.toLocaleString('en')} records (${bytes} bytes of patch) to 200 mirrors`, ours, theirs, unit: 'µs of CPU per update', ratio: ours / theirs, target: '< 1.5' })
  }
  return figures
}

/** Memory that connections hold which do nothing. */
export async function idle (): Promise<Figure[]> {
  const connections = 2000
  const { ours, theirs } = await compare(0, async (subject) => {
    const before = await subject.ask({ do: 'cpu' })
    await subject.connect(connections)
    const after = await subject.ask({ do: 'cpu' })
    return (after.rss - before.rss) / connections / 1024
  }, undefined, 1)
  return [{ name: `an idle connection, of ${connections.toLocaleString('en')} (resident, handshake garbage included)`, ours, theirs, unit: 'KiB', ratio: ours / theirs, target: '' }]
}

async function compare (connections: number, measure: (subject: Subject) => Promise<number>, prepare?: (subject: Subject) => Promise<void>, rounds = ROUNDS): Promise<{ ours: number, theirs: number }> {
  const subjects = await Promise.all([new Subject('datasole').start(), new Subject('ws').start()])
  try {
    for (const subject of subjects) {
      await subject.connect(connections)
      await prepare?.(subject)
    }
    const [ours, theirs]: [number[], number[]] = [[], []]
    // the first round warms up
    for (let round = 0; round <= (rounds === 1 ? 0 : rounds); round++) {
      for (const [i, costs] of [ours, theirs].entries()) {
        const cost = await measure(subjects[i]!)
        if (round > 0 || rounds === 1) costs.push(cost)
      }
    }
    return { ours: median(ours), theirs: median(theirs) }
  } finally {
    for (const subject of subjects) subject.stop()
  }
}

function median (values: number[]): number {
  return values.sort((a, b) => a - b)[values.length >> 1]!
}
