import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { type AddressInfo, Socket, createConnection, createServer } from 'node:net'
import t from 'tap'
import { Opcode } from '../../lib/protocol/opcodes.js'
import { ConnectionContext } from '../../lib/server/context/connection-context.js'
import { Connection } from '../../lib/server/connection/connection.js'
import { entrances } from '../helpers/entrances.js'
import { Mirror } from '../helpers/mirror.js'
import { node } from '../helpers/nodes.js'
import type { Wire } from '../helpers/wire.js'
import { until } from '../helpers/until.js'

const { STATE_PATCH, STATE_SNAPSHOT, SUBSCRIBE, EVENT_S2C } = Opcode
const KiB = 1024
/** More than the kernel buffers for a connection on the loopback. */
const FLOOD = 12 * KiB * KiB
const noise = (size: number): string => randomBytes(Math.ceil(size * 3 / 4)).toString('base64').slice(0, size)

async function turns (count: number): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise(setImmediate)
}

/** Bytes that wait in each socket of this process. */
function waiting (): number[] {
  const handles = (process as unknown as { _getActiveHandles (): unknown[] })._getActiveHandles()
  return handles.filter((handle) => handle instanceof Socket && handle.writable).map((socket) => (socket as Socket).writableLength)
}

for (const [entrance, start] of entrances) {
  t.test(`flow control, ${entrance}`, async (t) => {
    t.test('a reader that stops gets no more than the high-water mark, and one catch-up per key when it goes on', async (t) => {
      const { ds, connect } = await start(t, { highWaterMark: 64 * KiB, maxBufferedBytes: 512 * KiB, compression: false, rateLimit: false })
      const { live } = ds.primitives
      const slow = new Mirror()
      const slowWire = await connect()
      slow.use(slowWire)
      const quick = new Mirror()
      quick.use(await connect())
      for (const mirror of [slow, quick]) for (const key of ['big', 'small']) mirror.subscribe(key)
      await live.setState('small', { n: 0 })
      await live.setState('big', { n: 0, noise: '' })
      for (const mirror of [slow, quick]) await mirror.until(() => mirror.held.get('big')?.version === 1 && mirror.held.get('small')?.version === 1)
      slowWire.socket.pause()
      const rounds = FLOOD / (64 * KiB)
      for (let n = 1; n <= rounds; n++) {
        await live.setState('big', { n, noise: noise(64 * KiB) })
        await live.setState('small', { n })
        await turns(1)
        if (n % 16 === 0) await quick.until(() => quick.held.get('big')?.version === n + 1)
      }
      await quick.until(() => quick.held.get('small')?.version === rounds + 1)
      t.ok(quick.patches + quick.snapshots >= rounds, `the others get everything (${quick.patches} patches, ${quick.snapshots} snapshots)`)
      const before = slow.patches + slow.snapshots
      slowWire.socket.resume()
      await slow.until(() => ['big', 'small'].every((key) => slow.held.get(key)?.version === rounds + 1))
      t.strictSame(slow.value('big'), quick.value('big'))
      t.strictSame([...slow.complaints, ...quick.complaints], [])
      const got = slow.patches + slow.snapshots - before
      t.ok(got < 2 * rounds - 10, `${got} of ${2 * rounds} updates were sent to it`)
      t.equal(ds.metrics.snapshot().slowConsumers, 0)
    })

    t.test('values of any size are state like any other: never 4413', async (t) => {
      const { ds, connect } = await start(t, { highWaterMark: 10_000, maxBufferedBytes: 100_000, compression: false, rateLimit: false })
      const { live } = ds.primitives
      const sizes = { a: 9000, b: 95_000, c: 9000, d: 99_000, e: 300_000, f: 600_000, g: 95_000 }
      for (const [key, size] of Object.entries(sizes)) await live.setState(key, noise(size))
      const wire = await connect()
      for (const key of Object.keys(sizes)) wire.send(SUBSCRIBE, wire.id(), { key })
      for (const [, size] of Object.entries(sizes)) t.equal((await wire.nextOf(STATE_SNAPSHOT)).payload.data.length, size)
      // all at once, through the shared patch
      await Promise.all(Object.entries(sizes).map(([key, size]) => live.setState(key, noise(size))))
      for (const [key, size] of Object.entries(sizes)) t.equal((await wire.waitFor(({ payload }) => payload.key === key && payload.version === 2)).payload.version, 2, `${size}`)
      t.equal(ds.metrics.snapshot().slowConsumers, 0)
    })

    t.test('events to a reader that stopped end in 4413; others do not notice', async (t) => {
      const { ds, connect } = await start(t, { maxBufferedBytes: 256 * KiB, compression: false, rateLimit: false })
      const slow = await connect()
      const quick = await connect()
      slow.socket.pause()
      const data = noise(32 * KiB)
      let sent = 0
      while (ds.metrics.snapshot().slowConsumers === 0 && sent < 10 * FLOOD / data.length) {
        ds.primitives.fanout.broadcast('news', { data, n: sent++ })
        await turns(2)
      }
      t.equal(ds.metrics.snapshot().slowConsumers, 1)
      slow.socket.resume()
      t.equal((await slow.closed).code, 4413)
      ds.primitives.fanout.broadcast('news', { data: '', n: sent++ })
      for (let n = 0; n < sent; n++) t.equal((await quick.nextOf(EVENT_S2C)).payload.data.n, n)
      t.equal(ds.transport.getConnectionCount(), 1)
    })

    t.test('one frame alone may be larger than maxBufferedBytes', async (t) => {
      const { ds, connect } = await start(t, { maxBufferedBytes: 64 * KiB, highWaterMark: 16 * KiB, compression: false })
      const wire = await connect()
      ds.rpc.register('large', () => noise(FLOOD / 4))
      t.equal((await wire.call('large')).result.length, FLOOD / 4)
      ds.primitives.fanout.broadcast('large', noise(FLOOD / 4))
      ds.primitives.fanout.broadcast('small', 1)
      t.equal((await wire.nextOf(EVENT_S2C)).payload.data.length, FLOOD / 4)
      t.equal((await wire.nextOf(EVENT_S2C)).payload.data, 1)
      t.equal(ds.metrics.snapshot().slowConsumers, 0)
    })

    t.test('an answer to SUBSCRIBE waits for a reader that stopped, and is the newest then', async (t) => {
      const { ds, connect } = await start(t, { highWaterMark: 16 * KiB, maxBufferedBytes: 64 * KiB * KiB, compression: false, rateLimit: false })
      const { live } = ds.primitives
      await live.setState('k', { n: 0 })
      const wire = await connect()
      wire.socket.pause()
      for (let i = 0; i < FLOOD / (64 * KiB); i++) ds.primitives.fanout.broadcast('news', noise(64 * KiB))
      const id = wire.id()
      wire.send(SUBSCRIBE, id, { key: 'k' })
      await turns(50)
      for (let n = 1; n <= 5; n++) await live.setState('k', { n })
      wire.socket.resume()
      t.match((await wire.waitFor((frame) => frame.id === id)).payload, { version: 6, data: { n: 5 } })
      await wire.ping()
      t.strictSame(wire.received.filter(({ opcode }) => opcode === STATE_PATCH || opcode === STATE_SNAPSHOT), [], 'and it is all there is')
    })
  })
}

t.test('flow control: memory stays bounded for readers that never read', async (t) => {
  const { ds, connect } = await node(t, { highWaterMark: 64 * KiB, maxBufferedBytes: 256 * KiB, compression: false, rateLimit: false })
  const { live } = ds.primitives
  const keys = Array.from({ length: 20 }, (_, i) => `key ${i}`)
  const wires: Wire[] = []
  for (let i = 0; i < 5; i++) {
    const wire = await connect()
    for (const key of keys) wire.send(SUBSCRIBE, wire.id(), { key })
    await wire.ping()
    wire.socket.pause()
    wires.push(wire)
  }
  for (let i = 0; i < 20; i++) {
    await Promise.all(keys.map((key) => live.setState(key, noise(32 * KiB))))
    await turns(2)
  }
  // 12 MiB of updates for each of them
  const buffered = waiting()
  t.ok(buffered.some((length) => length > 32 * KiB), 'they do hold up')
  t.ok(buffered.every((length) => length <= 64 * KiB + 64 * KiB), `${Math.max(...buffered)} bytes wait for one of them at the most`)
  t.equal(ds.metrics.snapshot().slowConsumers, 0)
})

t.test('flow control: a reader that stopped and then is gone does not hold up the server', { timeout: 60_000 }, async (t) => {
  for (const highWaterMark of [1 * KiB, 256 * KiB]) {
    const { ds, connect } = await node(t, { highWaterMark, compression: false, rateLimit: false, maxBufferedBytes: 64 * KiB * KiB })
    const { live } = ds.primitives
    ds.rpc.register('write', async () => { await live.setState('k', noise(100)) })
    await live.setState('k', 1)
    await live.setState('large', noise(8 * KiB * KiB))
    const other = await connect()
    for (let i = 0; i < 4; i++) {
      const wire = await connect()
      wire.send(SUBSCRIBE, wire.id(), { key: 'k' })
      await wire.ping()
      wire.socket.pause()
      wire.send(SUBSCRIBE, wire.id(), { key: 'large' })
      await other.ping()
      for (let n = 0; n < 3; n++) await live.setState('k', noise(2000))
      await turns(5)
      ;(wire.socket as unknown as { _socket: Socket })._socket.resetAndDestroy()
      for (let n = 0; n < 20; n++) {
        void other.call('write')
        await live.setState('k', noise(2000))
        await turns(1)
      }
      t.notOk((await other.call('write')).error)
    }
    await until(() => ds.transport.getConnectionCount() <= 1)
    await other.close()
  }
})

t.test('flow control: a client that asks without reading is a slow consumer too', async (t) => {
  const { ds, connect } = await node(t, { maxBufferedBytes: 128 * KiB, compression: false, rateLimit: false })
  const wire = await connect()
  wire.socket.pause()
  ds.rpc.register('noise', () => noise(16 * KiB))
  for (let i = 0; i < FLOOD / (16 * KiB); i++) {
    wire.send(Opcode.RPC_REQ, i, { method: 'noise', correlationId: i })
    if (i % 64 === 0) await turns(1)
  }
  await until(() => ds.metrics.snapshot().slowConsumers !== 0)
  wire.socket.resume()
  t.equal((await wire.closed).code, 4413)
})

t.test('flow control: state that has no room beside what waits already waits for its turn', async (t) => {
  const { ds, connect } = await node(t, { highWaterMark: 200_000, maxBufferedBytes: 400_000, compression: false, rateLimit: false })
  const { live } = ds.primitives
  for (const key of ['patched', 'asked', 'huge']) await live.setState(key, 0)
  const wire = await connect()
  await wire.ask(SUBSCRIBE, { key: 'patched' })
  await wire.ask(SUBSCRIBE, { key: 'huge' })
  wire.socket.pause()
  let events = 0
  while (!waiting().some((length) => length > 0)) {
    ds.primitives.fanout.broadcast('news', { n: events++, noise: noise(20_000) })
    await turns(1)
  }
  for (let n = 1; n <= 3; n++) await live.setState('patched', { n, noise: noise(390_000) })
  await live.setState('asked', noise(399_000))
  wire.send(SUBSCRIBE, wire.id(), { key: 'asked' })
  await live.setState('huge', noise(3_000_000))
  await turns(50)
  t.ok(waiting().every((length) => length < 4_000_000))
  wire.socket.resume()
  for (let n = 0; n < events; n++) t.equal((await wire.nextOf(EVENT_S2C)).payload.data.n, n)
  const sizes: Record<string, number> = {}
  for (let n = 0; n < 3; n++) {
    const { payload: { key, data } } = await wire.nextOf(STATE_SNAPSHOT)
    sizes[key] = JSON.stringify(data).length
  }
  t.match(sizes, { patched: 390_018, asked: 399_002, huge: 3_000_002 })
  t.equal(ds.metrics.snapshot().slowConsumers, 0)
})

t.test('flow control: a connection whose socket was destroyed waits for its end, and for nothing else', async (t) => {
  const server = createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const client = createConnection((server.address() as AddressInfo).port, '127.0.0.1')
  const [raw] = await once(server, 'connection') as [Socket]
  t.teardown(() => { client.destroy(); server.close() })
  client.pause()
  let flushes = 0
  const flusher = {
    add (connection: { flush (): void }): void {
      if (++flushes < 1000) process.nextTick(() => { connection.flush() })
    }
  }
  const host = { settings: { highWaterMark: 1000, maxBufferedBytes: Infinity, closeTimeoutMs: 100 }, metrics: {}, flusher, log: undefined }
  const socket = { on () {}, close () {}, terminate () {} }
  const connection = new Connection(host as never, socket, raw, new ConnectionContext('id', { authenticated: true }, '', 2))
  connection.send(Buffer.alloc(FLOOD))
  await turns(5)
  t.ok(connection.isCongested)
  const stale = { catchUp: () => false }
  raw.destroy()
  connection.markStale(stale)
  await turns(1)
  t.ok(flushes < 10, `${flushes} flushes`)
  connection.ended()
})
