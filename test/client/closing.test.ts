import { setTimeout } from 'node:timers/promises'
import t from 'tap'
import { WebSocket } from 'ws'
import { Opcode } from '../../lib/protocol/opcodes.js'
import { entrances } from '../helpers/entrances.js'
import { randomOf, seed } from '../helpers/random.js'
import { dial, watch } from './dialled.js'

const { RPC_REQ, RPC_RES, RPC_CANCEL, EVENT_C2S, GOAWAY } = Opcode

t.test('of the calls that a closing server has not answered, those that it has not begun go to the next connection', async (t) => {
  const { client, peer, server, errors } = await dial(t)
  const begun = client.rpc('begun')
  const first = await peer.next(RPC_REQ)
  const never = [client.rpc('never 1'), client.rpc('never 2')]
  const controller = new AbortController()
  const aborted = client.rpc('aborted', undefined, { signal: controller.signal })
  const late = client.rpc('late', undefined, { timeoutMs: 3000 })
  const ids = []
  for (let i = 0; i < 4; i++) ids.push((await peer.next(RPC_REQ)).id)
  peer.send(GOAWAY, 0, { begun: [first.id] })
  peer.send(Opcode.EVENT_S2C, 0, { event: 'fence', data: 1, timestamp: 1 })
  await new Promise<void>((resolve) => { client.on('fence', () => { resolve() }) })
  t.equal(client.emit('event', 1), true, 'what is made before the connection has gone waits, too')
  const after = client.rpc('after')
  controller.abort()
  await t.rejects(aborted, { name: 'AbortError' })
  await t.rejects(late, { code: -32001 })
  client.emit('second event')
  t.strictSame(peer.received, [], 'nothing of it is said to the one that leaves')
  peer.socket.close(1001, 'server going away')
  await t.rejects(begun, { code: 'OUTCOME_UNKNOWN' })
  const again = (await server.accept()).welcome()
  await again.until(({ received }) => received.length === 5)
  t.strictSame(again.received.map(({ opcode, payload }) => [opcode, payload.method ?? payload.event]), [[RPC_REQ, 'never 1'], [RPC_REQ, 'never 2'], [EVENT_C2S, 'event'], [RPC_REQ, 'after'], [EVENT_C2S, 'second event']], 'the oldest first')
  t.strictSame(again.received.slice(0, 2).map(({ id, payload }) => [id, payload.correlationId]), ids.slice(0, 2).map((id) => [id, id]))
  for (const call of again.received) if (call.opcode === RPC_REQ) again.result(call, call.payload.method)
  t.strictSame(await Promise.all([...never, after]), ['never 1', 'never 2', 'after'])
  t.strictSame(errors, [])
})

t.test('so do calls that a closing server answers as not begun; not for ever', async (t) => {
  const { client, peer, server } = await dial(t)
  const answer = client.rpc('x')
  let to = peer
  for (let i = 0; i < 11; i++) {
    const { id } = await to.next(RPC_REQ)
    to.send(RPC_RES, id, { correlationId: id, error: { code: -32030, message: 'closing', data: { code: 'BUSY', retryAfter: 1000 } }, begun: false })
    if (i === 10) break
    to.socket.close(1001)
    to = (await server.accept()).welcome()
  }
  await t.rejects(answer, { name: 'RpcError', code: -32030 })
  // one that only says BUSY is the caller's to make again
  const busy = client.rpc('y')
  const { id } = await to.next(RPC_REQ)
  to.send(RPC_RES, id, { correlationId: id, error: { code: -32030, message: 'too many calls in flight', data: { code: 'BUSY', retryAfter: 100 } } })
  await t.rejects(busy, { code: -32030 })
})

t.test('closing: a client that has nowhere to go says that the call was not sent', async (t) => {
  const { client, peer } = await dial(t, { reconnect: false, onError: () => {} })
  const answer = client.rpc('x')
  await peer.next(RPC_REQ)
  peer.send(GOAWAY, 0, { begun: [] })
  peer.socket.close(1001)
  await t.rejects(answer, { code: 'NOT_CONNECTED' })
})

t.test('closing: it has no more calls under way than the server takes; others wait, in order', async (t) => {
  const { client, peer, server } = await dial(t, {}, { maxCallsInFlight: 2 })
  const names = Array.from({ length: 6 }, (_, i) => `call ${i}`)
  const controller = new AbortController()
  const calls = names.map((name, i) => client.rpc(name, undefined, i === 1 ? { signal: controller.signal } : i === 3 ? { timeoutMs: 20 } : {}))
  const late = t.rejects(calls[3]!, { code: -32001, data: { code: 'TIMEOUT' } }, 'time runs while a call waits')
  client.emit('event')
  await peer.next(EVENT_C2S)
  const [zero, one] = [await peer.next(RPC_REQ), await peer.next(RPC_REQ)]
  t.strictSame(peer.received, [], 'an event waits for no call')
  await late
  controller.abort()
  await t.rejects(calls[1]!, { name: 'AbortError' })
  t.equal((await peer.next(RPC_CANCEL)).id, one!.id)
  client.emit('fence')
  await peer.next(EVENT_C2S)
  t.strictSame(peer.received, [], 'the server has a call that was given up until it has answered that')
  peer.send(RPC_RES, one!.id, { correlationId: one!.id, error: { code: -32002, message: 'cancelled' } })
  const two = await peer.next(RPC_REQ)
  peer.result(zero!, 0)
  const four = await peer.next(RPC_REQ)
  t.strictSame([two.payload.method, four.payload.method], ['call 2', 'call 4'])
  peer.socket.terminate()
  for (const i of [2, 4]) await t.rejects(calls[i]!, { code: 'OUTCOME_UNKNOWN' })
  const again = (await server.accept()).welcome() // an older server, which does not say
  const five = await again.next(RPC_REQ)
  t.equal(five.payload.method, 'call 5', 'what was not sent goes to the next connection')
  again.result(five, 5)
  t.equal(await calls[5], 5)
  const many = Array.from({ length: 150 }, async (_, i) => await client.rpc('many', i))
  client.emit('fence')
  await again.next(EVENT_C2S)
  t.equal(again.received.length, 100)
  for (let i = 0; i < 150; i++) again.result(await again.next(RPC_REQ), i)
  t.strictSame(await Promise.all(many), Array.from({ length: 150 }, (_, i) => i))
})

t.test('closing: what waits for answers is bounded; a call that is too large makes room for the next', async (t) => {
  const { client, peer } = await dial(t, {}, { maxCallsInFlight: 1, maxPayload: 1000 })
  const first = client.rpc('first')
  const noise = Array.from({ length: 2000 }, () => Math.random().toString(36)).join('')
  const large = Array.from({ length: 5 }, () => client.rpc('large', noise))
  const rest = Array.from({ length: 1000 }, () => client.rpc('small').catch((error: { code: unknown }) => error.code))
  peer.result(await peer.next(RPC_REQ), 1)
  t.equal(await first, 1)
  for (const call of large) await t.rejects(call, { code: 'PAYLOAD_TOO_LARGE' })
  for (let i = 0; i < 995; i++) peer.result(await peer.next(RPC_REQ), 'small')
  const results = await Promise.all(rest)
  t.equal(results.filter((result) => result === 'small').length, 995)
  t.equal(results.filter((result) => result === 'BUSY').length, 5)
})

for (const [entrance, start] of entrances) {
  t.test(`${entrance}: after a reconnect no call of many is refused`, async (t) => {
    const { ds, url } = await start(t, { maxCallsInFlight: 100, rateLimit: false })
    ds.rpc.register('slow', async (params) => { await setTimeout(1); return params })
    const { client, states, until } = watch(t, { url })
    await client.connect()
    ds.disconnectUser('127.0.0.1', { code: 1001 })
    await until(() => states.at(-1) === 'reconnecting')
    const calls = Array.from({ length: 1000 }, async (_, i) => await client.rpc('slow', i))
    t.strictSame(await Promise.all(calls), Array.from({ length: 1000 }, (_, i) => i))
    t.equal(ds.metrics.snapshot().rpcErrors, 0)
  })

  t.test(`${entrance}: servers are reloaded under load, and every call runs once`, async (t) => {
    const next = randomOf(seed)
    t.comment(`seed ${seed}`)
    const runs = new Map<number, number>()
    const startOne = async (): Promise<Awaited<ReturnType<typeof start>>> => {
      const running = await start(t, { rateLimit: false, maxCallsInFlight: 10 })
      running.ds.rpc.register('work', async (id) => {
        runs.set(id as number, (runs.get(id as number) ?? 0) + 1)
        await setTimeout(next(8))
        return id
      })
      return running
    }
    let current = await startOne()
    class Balanced extends WebSocket {
      constructor (_url: string, protocols: string[]) { super(current.url, protocols) }
    }
    const clients = [0, 1, 2].map(() => watch(t, { url: current.url, webSocket: Balanced }).client)
    await Promise.all(clients.map(async (client) => { await client.connect() }))
    let id = 0
    const over = new AbortController()
    const failures: unknown[] = []
    const callers = clients.flatMap((client) => Array.from({ length: 20 }, async () => {
      while (!over.signal.aborted) {
        const mine = id++
        await client.rpc('work', mine).then((result) => { if (result !== mine) failures.push(result) }, (error: unknown) => { failures.push(error) })
      }
    }))
    for (let round = 0; round < 4; round++) {
      await setTimeout(next(60))
      const old = current
      current = await startOne()
      await old.close()
    }
    over.abort()
    await Promise.all(callers)
    t.strictSame(failures, [])
    t.ok(id > 300, `${id} calls`)
    t.equal(runs.size, id, 'each ran')
    t.strictSame([...runs.values()].filter((count) => count !== 1), [], 'and none twice')
  })
}
