import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { encodeFrame } from '../lib/protocol/frame.js'
import { Opcode } from '../lib/protocol/opcodes.js'
import { type FakeSocket, connect, fakeServer, nextTurn } from './fake-server.js'
import { records } from './records.js'

/** CPU of this process per operation, and per receiver; or bytes of the heap. */
export interface Growth { what: string, n: number, cost: number, unit: string }

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

/** ms of each measurement. */
const MS = 500

/** How costs of a node grow, without a network: what the kernel does comes on top, for each write. */
export async function growth (): Promise<Growth[]> {
  const figures: Growth[] = []
  for (const n of [100, 1000, 10_000, 50_000]) figures.push(...await connections(n))
  for (const n of [100, 10_000, 100_000]) figures.push({ what: 'keys with one subscriber each: update of one of them', n, ...await keys(n) })
  for (const n of [10, 1000, 10_000, 100_000]) figures.push(...await stateSize(n))
  for (const n of [1, 100, 10_000]) figures.push(...await subscribers(n))
  return figures
}

async function connections (n: number): Promise<Growth[]> {
  const { core, ds } = fakeServer()
  const before = heap()
  await connectAll(core, n)
  const each = (heap() - before) / n
  const cost = await cpu(async () => {
    ds.primitives.fanout.broadcast('tick', 'x'.repeat(86))
    await drained(n)
  })
  return [
    { what: 'connections: an event of 97 bytes to all, per delivery', n, cost: cost / n, unit: 'µs' },
    { what: 'connections: heap of each, idle, with a stand-in for its socket', n, cost: each / 1024, unit: 'KiB' }
  ]
}

async function keys (n: number): Promise<{ cost: number, unit: string }> {
  const { core, ds } = fakeServer({ maxSubscriptions: 1000 })
  const { live } = ds.primitives
  const sockets = await connectAll(core, Math.ceil(n / 1000))
  for (let i = 0; i < n; i++) {
    await live.setState(`k${i}`, { n: 0 })
    subscribe(sockets[Math.floor(i / 1000)]!, `k${i}`)
  }
  await nextTurn()
  let i = 0
  return { cost: await cpu(async () => { await live.update<string>(`k${++i % n}`, (draft) => { (draft as { n: number }).n = i }) }), unit: 'µs' }
}

async function stateSize (n: number): Promise<Growth[]> {
  const { core, ds } = fakeServer()
  const { live } = ds.primitives
  let value = { records: records(n) }
  await live.setState('state', value)
  const [socket] = await connectAll(core, 1)
  subscribe(socket!, 'state')
  await nextTurn()
  let i = 0
  const update = await cpu(async () => { await live.update('state', (draft) => { (draft as typeof value).records[++i % n]!.value = i }) })
  const set = await cpu(async () => {
    value = { records: value.records.with(++i % n, { ...value.records[i % n]!, value: i }) }
    await live.setState('state', value)
  })
  return [
    { what: 'records of about 100 bytes in the state: update of one field', n, cost: update, unit: 'µs' },
    { what: 'records in the state: setState, all but one record shared', n, cost: set, unit: 'µs' }
  ]
}

async function subscribers (n: number): Promise<Growth[]> {
  const { core, ds } = fakeServer()
  const { live } = ds.primitives
  await live.setState('state', { records: records(1000) })
  for (const socket of await connectAll(core, n)) subscribe(socket, 'state')
  await nextTurn()
  let i = 0
  const cost = await cpu(async () => {
    await live.update('state', (draft) => { (draft as { records: ReturnType<typeof records> }).records[++i % 1000]!.value = i })
    await drained(n)
  })
  return [{ what: 'subscribers of a key of 118 KB: update of one field', n, cost, unit: 'µs' }]
}

async function connectAll (core: Parameters<typeof connect>[0], n: number): Promise<FakeSocket[]> {
  const sockets = []
  for (let i = 0; i < n; i++) sockets.push(await connect(core))
  await drained(n)
  return sockets
}

function subscribe (socket: FakeSocket, key: string): void {
  socket.emit('message', Buffer.from(encodeFrame(Opcode.SUBSCRIBE, 1, Buffer.from(JSON.stringify({ key })))), true)
}

/** The flusher writes 128 sockets in a turn. */
async function drained (n: number): Promise<void> {
  for (let i = 0; i <= n / 128; i++) await nextTurn()
}

/** µs of CPU for each run of an operation. */
async function cpu (run: () => Promise<void>): Promise<number> {
  for (const end = performance.now() + MS / 4; performance.now() < end;) await run()
  const before = process.cpuUsage()
  let count = 0
  for (const end = performance.now() + MS; performance.now() < end; count++) await run()
  const { user, system } = process.cpuUsage(before)
  return (user + system) / count
}

function heap (): number {
  collect()
  return process.memoryUsage().heapUsed
}
