import { deflateRawSync, deflateSync } from 'node:zlib'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import websocket from '@fastify/websocket'
import Fastify from 'fastify'
import t, { type Test } from 'tap'
import datasole from '../../index.js'
import { MemoryBackend } from '../../lib/backend/memory/memory.js'
import { Opcode } from '../../lib/protocol/opcodes.js'
import { unsubscriber } from '../../lib/protocol/unsubscribe.js'
import { type Running, entrances } from '../helpers/entrances.js'
import { tcp, upgradeRequest, upgraded, webSocketFrame } from '../helpers/raw.js'
import { type Wire, encode } from '../helpers/wire.js'
import { until } from '../helpers/until.js'

const MIB = 1024 * 1024

async function unmoved (t: Test, { connect }: Running, witness: Wire): Promise<void> {
  t.same((await witness.call('echo', 'before')).result, 'before', 'others do not notice')
  const newcomer = await connect()
  t.same((await newcomer.call('echo', 'after')).result, 'after', 'newcomers are served')
  await newcomer.close()
}

/** MiB of resident memory. */
function resident (): number {
  return process.memoryUsage.rss() / MIB
}

/** An RPC whose frame has a payload of exactly this many bytes. */
function sized (id: number, payloadLength: number): Buffer {
  const empty = JSON.stringify({ method: 'length', params: '', correlationId: id })
  return encode(Opcode.RPC_REQ, id, { method: 'length', params: 'x'.repeat(payloadLength - empty.length), correlationId: id })
}

/** A ping of WebSocket, whose answer is as large as a pong can be. */
const PING = webSocketFrame(Buffer.alloc(125), { opcode: 9 })

/** Sends a message again and again, and reads nothing, until the server ends the connection. */
async function flood (port: number, message: Buffer): Promise<void> {
  const socket = await upgraded(port)
  socket.pause()
  const cutOff = new Promise((resolve) => { socket.on('close', resolve) })
  const messages = Buffer.concat(Array.from({ length: 1000 }, () => message))
  for (let sent = 0; !socket.destroyed && sent < 100 * MIB; sent += messages.length) {
    if (!socket.write(messages)) await Promise.race([once(socket, 'drain').catch(() => {}), cutOff]) // a reset is an end too
  }
  const hasEnded = socket.destroyed
  socket.destroy()
  if (!hasEnded) throw new Error('the server still reads after 100 MiB')
}

/** A zlib stream of zeros: 512 times the deflate block of a MiB, which ends on a byte boundary. */
function bomb (mib: number): Buffer {
  const block = deflateRawSync(Buffer.alloc(MIB), { finishFlush: 2 })
  return Buffer.concat([Buffer.from([0x78, 0x9c]), ...Array.from({ length: mib }, () => block), Buffer.from([3, 0, 0, 0, 0, 0])])
}

/** Counts what is subscribed to at the moment. */
class CountingBackend extends MemoryBackend {
  subscribed = 0
  override subscribe (...args: Parameters<MemoryBackend['subscribe']>): ReturnType<MemoryBackend['subscribe']> {
    this.subscribed++
    const unsubscribe = super.subscribe(...args)
    return unsubscriber(() => { this.subscribed--; unsubscribe() })
  }
}

for (const [entrance, start] of entrances) {
  t.test(`limits, ${entrance}`, async (t) => {
    t.test('a payload of exactly maxPayload is taken, a larger one ends the connection with 1009', async (t) => {
      const running = await start(t, { prepare: (ds) => { ds.rpc.register('length', (text) => (text as string).length) } })
      const witness = await running.connect()
      const client = await running.connect()
      t.match((await client.nextOf(Opcode.WELCOME)).payload, { maxPayload: MIB })
      client.sendRaw(sized(1, MIB))
      t.ok((await client.waitFor(({ id }) => id === 1)).payload.result > MIB - 100)
      for (const size of [MIB + 1, 2 * MIB]) {
        const attacker = await running.connect()
        attacker.sendRaw(sized(2, size))
        t.match(await attacker.closed, { code: 1009 }, `${size}`)
      }
      const fragments = await running.connect()
      const half = Buffer.alloc(MIB)
      fragments.socket.send(half, { fin: false })
      fragments.socket.send(half, { fin: true })
      t.match(await fragments.closed, { code: 1009 }, 'in fragments')
      await unmoved(t, running, witness)
    })

    t.test('a frame may inflate to maxInflatedSize, and no further', async (t) => {
      const running = await start(t, { maxInflatedSize: 4 * MIB, prepare: (ds) => { ds.rpc.register('length', (text) => (text as string).length) } })
      const client = await running.connect()
      client.sendRaw(deflateSync(sized(1, 4 * MIB - 9)))
      t.ok((await client.waitFor(({ id }) => id === 1)).payload.result > 4 * MIB - 100)
      client.sendRaw(deflateSync(sized(2, 4 * MIB - 8)))
      t.match((await client.nextOf(Opcode.ERROR)).payload, { code: 'PAYLOAD_TOO_LARGE' })
    })

    t.test('a stream that inflates to 512 MiB', async (t) => {
      const running = await start(t, { maxBadFrames: 3 })
      const witness = await running.connect()
      const attacker = await running.connect()
      const stream = bomb(512)
      t.ok(stream.length < MIB)
      const before = resident()
      for (let i = 0; i < 4; i++) attacker.sendRaw(stream)
      t.match((await attacker.nextOf(Opcode.ERROR)).payload, { code: 'PAYLOAD_TOO_LARGE' })
      t.match(await attacker.closed, { code: 1002 })
      t.ok(resident() - before < 200, `memory grew by ${resident() - before} MiB`)
      t.equal(running.ds.metrics.snapshot().badFrames, 4)
      await unmoved(t, running, witness)
    })

    t.test('what no rate limit counts is small, however well it deflates', async (t) => {
      const running = await start(t)
      const client = await running.connect()
      await client.nextOf(Opcode.WELCOME)
      const key = '\u0001'.repeat(8192)
      client.send(Opcode.UNSUBSCRIBE, 0, { key })
      await client.ping()
      for (const opcode of [Opcode.PING, Opcode.UNSUBSCRIBE, Opcode.RPC_CANCEL]) {
        client.sendRaw(deflateSync(encode(opcode, 1, { key: 'k', more: ' '.repeat(10 * MIB) })))
        t.match(await client.next(), { opcode: Opcode.ERROR, payload: { code: 'BAD_FRAME' } })
      }
      for (let i = 0; i < 8; i++) client.send(Opcode.PING, 1, ' '.repeat(70_000))
      t.match(await client.closed, { code: 1002 })
    })

    t.test('inflating has a budget, as no rate limit can be looked up before', async (t) => {
      const running = await start(t, { maxInflatedSize: MIB })
      const client = await running.connect()
      await client.nextOf(Opcode.WELCOME)
      const event = deflateSync(encode(Opcode.EVENT_C2S, 0, { event: 'e', data: ' '.repeat(MIB - 100) }))
      for (let i = 0; i < 50; i++) client.sendRaw(event)
      const { payload } = await client.nextOf(Opcode.ERROR)
      t.match(payload, { code: 'BUSY' })
      t.ok(payload.retryAfter > 0 && payload.retryAfter <= 1000)
      await client.ping()
      t.ok(running.ds.metrics.snapshot().eventsIn <= 8, 'four in a second, or in each of two')
    })

    t.test('a call that is not inflated, or not whole, is answered all the same', async (t) => {
      const running = await start(t, { maxInflatedSize: MIB, rateLimit: false })
      const client = await running.connect()
      const call = (id: number, size: number): Buffer => deflateSync(encode(Opcode.RPC_REQ, id, { method: 'echo', params: ' '.repeat(size), correlationId: id }))
      client.sendRaw(call(1, MIB))
      t.match(await client.waitFor(({ id, opcode }) => id === 1 && opcode === Opcode.RPC_RES), { payload: { error: { code: -32600, data: { code: 'PAYLOAD_TOO_LARGE' } } } })
      for (let id = 2; id < 30; id++) client.sendRaw(call(id, MIB - 100))
      let busy = 0
      for (let id = 2; id < 30; id++) {
        const { payload: { error } } = await client.waitFor((frame) => frame.id === id)
        if (error === undefined) continue
        t.match(error, { code: -32030, data: { code: 'BUSY', retryAfter: Number } })
        busy++
      }
      t.ok(busy > 0)
    })

    t.test('a client that never reads while it is broadcast to', async (t) => {
      const running = await start(t)
      const witness = await running.connect()
      const attacker = await running.connect()
      await attacker.nextOf(Opcode.WELCOME)
      attacker.socket.pause()
      const data = { noise: Array.from({ length: 4000 }, () => Math.random()) }
      let heard = 0
      const before = resident()
      for (let sent = 1; running.ds.metrics.snapshot().slowConsumers === 0 && sent < 2000; sent++) {
        running.ds.primitives.fanout.broadcast('noise', data)
        await witness.nextOf(Opcode.EVENT_S2C)
        heard++
      }
      t.equal(running.ds.metrics.snapshot().slowConsumers, 1)
      t.ok(heard > 50, 'it is given the kernel\'s buffers and 4 MiB')
      t.ok(resident() - before < 150, `memory grew by ${resident() - before} MiB`)
      attacker.socket.resume()
      t.match(await attacker.closed, { code: 4413 })
      await unmoved(t, running, witness)
    })

    t.test('a client that never reads and asks for large answers', async (t) => {
      const running = await start(t, { rateLimit: false, compression: false, closeTimeoutMs: 200 })
      const large = 'x'.repeat(MIB)
      running.ds.rpc.register('large', async () => large)
      const witness = await running.connect()
      const attacker = await running.connect()
      attacker.socket.pause()
      const before = resident()
      for (let i = 0; i < 500; i++) attacker.send(Opcode.RPC_REQ, i, { method: 'large', correlationId: i })
      await until(() => running.ds.transport.getConnectionCount() <= 1)
      t.equal(running.ds.metrics.snapshot().slowConsumers, 1)
      t.ok(resident() - before < 150, `memory grew by ${resident() - before} MiB`)
      await unmoved(t, running, witness)
    })

    t.test('a client that never reads and sends pings of either kind', async (t) => {
      const running = await start(t, { maxBufferedBytes: 64 * 1024, closeTimeoutMs: 100 })
      const witness = await running.connect()
      // ws itself bounds its pongs
      for (const bytes of [webSocketFrame(encode(Opcode.PING, 1, null)), PING]) {
        await flood(running.port, bytes)
        t.equal(running.ds.metrics.snapshot().slowConsumers, 1)
      }
      await unmoved(t, running, witness)
    })

    t.test('20,000 pings of a client that reads are all answered', async (t) => {
      const running = await start(t)
      const witness = await running.connect()
      const client = await running.connect()
      await client.nextOf(Opcode.WELCOME)
      for (let i = 1; i <= 20_000; i++) client.send(Opcode.PING, i, null)
      await client.waitFor(({ id }) => id === 20_000)
      t.equal(client.received.length, 19_999)
      await unmoved(t, running, witness)
    })

    t.test('subscriptions to keys that clients make up leave nothing behind', async (t) => {
      const stateBackend = new CountingBackend()
      const running = await start(t, { stateBackend, rateLimit: false })
      const witness = await running.connect()
      const idle = stateBackend.subscribed
      for (let round = 0; round < 3; round++) {
        const attacker = await running.connect()
        for (let i = 0; i < 1000; i++) attacker.send(Opcode.SUBSCRIBE, i + 1, { key: `made up ${round} ${i}` })
        await attacker.waitFor(({ id }) => id === 1000)
        t.equal(stateBackend.subscribed, idle + 1000)
        t.match((await attacker.ask(Opcode.SUBSCRIBE, { key: 'one more' })), { opcode: Opcode.ERROR, payload: { code: 'LIMIT_EXCEEDED' } })
        if (round === 0) for (let i = 0; i < 1000; i++) attacker.send(Opcode.UNSUBSCRIBE, 0, { key: `made up ${round} ${i}` })
        if (round < 2) await attacker.ping()
        await attacker.close()
        await until(() => running.ds.transport.getConnectionCount() <= 1)
        t.equal(stateBackend.subscribed, idle)
      }
      await unmoved(t, running, witness)
    })

    t.test('nor do those that are taken back before they are answered', async (t) => {
      const stateBackend = new CountingBackend()
      const running = await start(t, { stateBackend, rateLimit: false })
      const witness = await running.connect()
      const idle = stateBackend.subscribed
      const socket = await upgraded(running.port)
      const pair = (i: number): Buffer[] => [
        webSocketFrame(encode(Opcode.SUBSCRIBE, i, { key: `made up ${i}` })),
        webSocketFrame(encode(Opcode.UNSUBSCRIBE, i, { key: `made up ${i}` }))
      ]
      socket.write(Buffer.concat(Array.from({ length: 500 }, (_, i) => pair(i)).flat()))
      await until(() => running.ds.metrics.snapshot().messagesIn >= 1000)
      await witness.ping()
      t.equal(stateBackend.subscribed, idle)
      // and one that is gone at once
      socket.write(Buffer.concat(Array.from({ length: 500 }, (_, i) => pair(1000 + i)[0]!)))
      socket.resetAndDestroy()
      await until(() => running.ds.transport.getConnectionCount() <= 1)
      await witness.ping()
      t.equal(stateBackend.subscribed, idle)
      await unmoved(t, running, witness)
    })

    t.test('calls beyond maxCallsInFlight get BUSY, and cancelled ones keep their place until they end', async (t) => {
      let release = (): void => {}
      const gate = new Promise<void>((resolve) => { release = resolve })
      const running = await start(t, { maxCallsInFlight: 3 })
      running.ds.rpc.register('wait', async () => { await gate; return 'done' })
      const client = await running.connect()
      for (const id of [1, 2, 3, 4]) client.send(Opcode.RPC_REQ, id, { method: 'wait', correlationId: id })
      t.match((await client.waitFor(({ id }) => id === 4)).payload.error, { code: -32030, data: { code: 'BUSY', retryAfter: Number } })
      client.send(Opcode.RPC_CANCEL, 1, null)
      t.match((await client.waitFor(({ id }) => id === 1)).payload.error, { code: -32002, data: { code: 'CANCELLED' } })
      t.match((await client.call('echo', 1)).error, { code: -32030 })
      release()
      await client.waitFor(({ id }) => id === 3)
      t.same((await client.call('echo', 1)).result, 1)
    })

    t.test('a client that goes on after being refused ends with 4429', async (t) => {
      const running = await start(t, { rateLimit: { defaultRule: { windowMs: 60_000, maxRequests: 2 } } })
      const witness = await running.connect()
      const attacker = await running.connect()
      for (let i = 1; i <= 1100; i++) attacker.send(Opcode.RPC_REQ, i, { method: 'echo', correlationId: i })
      t.match(await attacker.closed, { code: 4429 })
      t.equal(running.ds.metrics.snapshot().rateLimited, 1001)
      await unmoved(t, running, witness)
    })

    t.test('events that wait for a hook are bounded in number and in bytes', async (t) => {
      let release = (): void => {}
      const gate = new Promise<void>((resolve) => { release = resolve })
      const running = await start(t, { rateLimit: false, maxInflatedSize: 2 * MIB, maxCallsInFlight: 5 })
      let handled = 0
      running.ds.addHook('preEvent', () => gate)
      running.ds.primitives.events.on('e', () => { handled++ })
      const few = await running.connect()
      for (let i = 1; i <= 6; i++) few.send(Opcode.EVENT_C2S, i, { event: 'e' })
      t.match(await few.waitFor(({ id }) => id === 6), { opcode: Opcode.ERROR, payload: { code: 'BUSY', retryAfter: Number } })
      const large = await running.connect()
      const data = 'x'.repeat(900_000)
      for (let i = 1; i <= 3; i++) large.send(Opcode.EVENT_C2S, i, { event: 'e', data })
      t.match(await large.waitFor(({ id }) => id === 3), { opcode: Opcode.ERROR, payload: { code: 'BUSY' } })
      release()
      await few.ping()
      await large.ping()
      t.equal(handled, 7)
    })

    t.test('half-open clients whose upgrade was refused are cut off', async (t) => {
      const running = await start(t, { maxConnections: 1, authHandler: () => ({ authenticated: false }) })
      for (const [target, status] of [['/__ds', 401], ['/elsewhere', 404], ['/__ds', 401]] as const) {
        const socket = await tcp(running.port, { allowHalfOpen: true })
        socket.write(upgradeRequest(target))
        const [head] = await once(socket, 'data')
        t.match(String(head), `HTTP/1.1 ${status}`)
        await once(socket, 'end')
        const open = (): Promise<number> => new Promise((resolve, reject) => { running.server.getConnections((error, count) => { if (error) reject(error); else resolve(count) }) })
        // this side stays open, and the server does not wait for it
        await until(async () => await open() <= 0)
        socket.destroy()
      }
    })
  })
}

for (const [whose, maxPendingAutoPongs] of [['ws', 60], ['a connection', 0]] as const) {
  t.test(`limits: pongs for a client that never reads, by the bound of ${whose}`, async (t) => {
    const app = Fastify()
    await app.register(websocket, { options: { maxPendingAutoPongs } as object })
    await app.register(datasole, { maxBufferedBytes: 64 * 1024, closeTimeoutMs: 100 })
    await app.listen({ port: 0, host: '127.0.0.1' })
    t.teardown(() => app.close())
    const before = resident()
    await flood((app.server.address() as AddressInfo).port, PING)
    t.ok(resident() - before < 100, `memory grew by ${resident() - before} MiB`)
    await until(() => app.ds.transport.getConnectionCount() === 0)
    t.equal(app.ds.metrics.snapshot().slowConsumers, maxPendingAutoPongs === 0 ? 1 : 0)
  })
}
