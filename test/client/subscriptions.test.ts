import type { Socket } from 'node:net'
import t from 'tap'
import { Opcode } from '../../lib/protocol/opcodes.js'
import { dial, watch } from './dialled.js'
import { type Peer, listen } from './peer.js'
import { until } from '../helpers/until.js'

/** What a handler was told, and a wait for the next of it. */
function teller () {
  const told: Array<[value: unknown, version: number]> = []
  return {
    told,
    handler (value: unknown, { version }: { version: number }) {
      told.push([value, version])
    },
    async times (count: number) { await until(() => told.length >= count) }
  }
}

function snapshot (peer: Peer, id: number, version: number, data?: unknown, epoch = 'e'): void {
  peer.send(Opcode.STATE_SNAPSHOT, id, { key: 'k', epoch, version, data })
}

function patch (peer: Peer, id: number, from: number, version: number, value?: unknown): void {
  const patches = value === undefined ? [] : [{ op: 'replace', path: '', value }]
  peer.send(Opcode.STATE_PATCH, id, { key: 'k', epoch: 'e', from, version, patches })
}

t.test('one subscription for all subscribers; the last one ends it', async (t) => {
  const { client, peer } = await dial(t)
  const first = teller()
  const endFirst = client.subscribeState('k', first.handler)
  t.equal(client.getState('k'), undefined)
  const request = await peer.next(Opcode.SUBSCRIBE)
  t.not(request.id, 0)
  t.strictSame(request.payload, { key: 'k' })
  snapshot(peer, request.id, 3, { n: 3 })
  await first.times(1)
  const second = teller()
  const endSecond = client.subscribeState('k', second.handler)
  t.strictSame(second.told, [], 'not before it has its unsubscriber')
  await second.times(1)
  patch(peer, 0, 3, 4, { n: 4 })
  await first.times(2)
  t.strictSame(first.told, [[{ n: 3 }, 3], [{ n: 4 }, 4]])
  t.strictSame(second.told, first.told)
  t.strictSame(client.getState('k'), { n: 4 })
  endFirst()
  endFirst()
  patch(peer, 0, 4, 5, { n: 5 })
  await second.times(3)
  t.equal(first.told.length, 2)
  endSecond()
  t.strictSame((await peer.next(Opcode.UNSUBSCRIBE)).payload, { key: 'k' })
  t.equal(client.getState('k'), undefined, 'the mirror is forgotten')
  t.strictSame(peer.received, [], 'one SUBSCRIBE, one UNSUBSCRIBE')
})

t.test('subscriptions: a key without a value', async (t) => {
  const { client, peer } = await dial(t)
  const { told, handler, times } = teller()
  client.subscribeState('k', handler)
  snapshot(peer, (await peer.next(Opcode.SUBSCRIBE)).id, 0)
  await times(1)
  patch(peer, 0, 0, 1, 'first')
  await times(2)
  snapshot(peer, 0, 0, undefined, 'deleted')
  await times(3)
  t.strictSame(told, [[undefined, 0], ['first', 1], [undefined, 0]])
})

t.test('subscriptions: a gap is asked for once, with what is held; a patch that does not apply, without', async (t) => {
  const { client, peer, errors } = await dial(t)
  const { told, handler, times } = teller()
  client.subscribeState('k', handler)
  snapshot(peer, (await peer.next(Opcode.SUBSCRIBE)).id, 3, 'three')
  patch(peer, 0, 4, 5, 'five')
  patch(peer, 0, 5, 6, 'six')
  const request = await peer.next(Opcode.SUBSCRIBE)
  t.strictSame(request.payload, { key: 'k', epoch: 'e', version: 3 })
  client.emit('fence')
  await peer.next(Opcode.EVENT_C2S)
  t.strictSame(peer.received, [])
  patch(peer, request.id, 3, 6, 'six')
  await times(2)
  peer.send(Opcode.STATE_PATCH, 0, { key: 'k', epoch: 'e', from: 6, version: 7, patches: [{ op: 'remove', path: '/nothing' }] })
  const again = await peer.next(Opcode.SUBSCRIBE)
  t.strictSame(again.payload, { key: 'k' })
  snapshot(peer, again.id, 7, 'seven')
  await times(3)
  t.strictSame(told, [['three', 3], ['six', 6], ['seven', 7]])
  t.strictSame(errors, [])
})

t.test('subscriptions: an answer that does not fit what is held: it asks for the whole value', async (t) => {
  const { client, peer } = await dial(t)
  const { handler, times } = teller()
  client.subscribeState('k', handler)
  snapshot(peer, (await peer.next(Opcode.SUBSCRIBE)).id, 3, 'three')
  patch(peer, 0, 9, 10, 'ten')
  patch(peer, (await peer.next(Opcode.SUBSCRIBE)).id, 5, 10, 'ten')
  const request = await peer.next(Opcode.SUBSCRIBE)
  t.strictSame(request.payload, { key: 'k' })
  snapshot(peer, request.id, 10, 'ten')
  await times(2)
})

t.test('subscriptions: a new connection goes on where the last one stopped', async (t) => {
  const server = await listen(t)
  const { client } = watch(t, { url: server.url })
  const { told, handler, times } = teller()
  client.subscribeState('k', handler) // before there is any connection
  void client.connect()
  const peer = (await server.accept()).welcome()
  snapshot(peer, (await peer.next(Opcode.SUBSCRIBE)).id, 3, 'three')
  await times(1)
  peer.socket.terminate()
  const again = (await server.accept()).welcome()
  const request = await again.next(Opcode.SUBSCRIBE)
  t.strictSame(request.payload, { key: 'k', epoch: 'e', version: 3 })
  t.equal(client.getState('k'), 'three', 'what is known stays')
  patch(again, request.id, 3, 3) // nothing was missed
  patch(again, 0, 3, 4, 'four')
  await times(2)
  t.strictSame(told, [['three', 3], ['four', 4]])
  await client.disconnect()
  void client.connect()
  const third = (await server.accept()).welcome()
  t.strictSame((await third.next(Opcode.SUBSCRIBE)).payload, { key: 'k', epoch: 'e', version: 4 })
})

t.test('subscriptions: a refusal is told, and asked for again with the next subscriber or connection', async (t) => {
  const { client, peer, server, errors, until } = await dial(t)
  const refusals: unknown[] = []
  const { told, handler, times } = teller()
  client.subscribeState('k', handler, { onError: (error) => { refusals.push(error) } })
  peer.send(Opcode.ERROR, (await peer.next(Opcode.SUBSCRIBE)).id, { code: 'FORBIDDEN', message: 'not yours' })
  client.subscribeState('other', handler)
  const other = await peer.next(Opcode.SUBSCRIBE)
  peer.send(Opcode.ERROR, other.id, { code: 'LIMIT_EXCEEDED', message: 'too many' })
  await until(() => errors.length === 1)
  t.match(refusals, [{ code: 'FORBIDDEN', message: /"k" was refused: not yours/ }])
  t.match(errors, [{ code: 'LIMIT_EXCEEDED' }])
  t.strictSame(peer.received, [], 'it does not insist')
  client.subscribeState('k', handler)
  const request = await peer.next(Opcode.SUBSCRIBE)
  snapshot(peer, request.id, 1, 'yours')
  await times(2)
  peer.socket.terminate()
  const again = (await server.accept()).welcome()
  const keys = [await again.next(Opcode.SUBSCRIBE), await again.next(Opcode.SUBSCRIBE)].map(({ payload }) => payload.key)
  t.strictSame(keys.sort(), ['k', 'other'])
  t.strictSame(told, [['yours', 1], ['yours', 1]])
})

t.test('subscriptions: where the server is busy it is asked again after the time that it said', async (t) => {
  const { client, peer, errors } = await dial(t)
  const { handler, times } = teller()
  client.subscribeState('k', handler)
  for (const code of ['RATE_LIMITED', 'BUSY']) {
    const before = performance.now()
    peer.send(Opcode.ERROR, (await peer.next(Opcode.SUBSCRIBE)).id, { code, message: 'later', retryAfter: 30 })
    await peer.until(() => peer.received.length > 0)
    t.ok(performance.now() - before >= 29)
  }
  snapshot(peer, (await peer.next(Opcode.SUBSCRIBE)).id, 1, 1)
  await times(1)
  t.strictSame(errors, [])
  const end = client.subscribeState('gone', handler)
  peer.send(Opcode.ERROR, (await peer.next(Opcode.SUBSCRIBE)).id, { code: 'BUSY', message: 'later', retryAfter: 1 })
  const settled = new Promise<void>((resolve) => { client.on('settled', () => { resolve() }) })
  peer.send(Opcode.EVENT_S2C, 0, { event: 'settled', data: null, timestamp: 0 })
  await settled
  end() // it does not ask for what nobody wants any more
  await peer.next(Opcode.UNSUBSCRIBE)
  await new Promise((resolve) => setTimeout(resolve, 20))
  client.emit('fence')
  await peer.next(Opcode.EVENT_C2S)
  t.strictSame(peer.received, [])
})

t.test('a subscription that has to wait long is heard, once', async (t) => {
  const { client, peer, errors, until } = await dial(t)
  const own: unknown[] = []
  client.subscribeState('k', () => {})
  const refuse = (id: number, code: string, retryAfter: number): void => { peer.send(Opcode.ERROR, id, { code, message: 'rate limit exceeded', retryAfter, key: 'k' }) }
  refuse((await peer.next(Opcode.SUBSCRIBE)).id, 'RATE_LIMITED', 1)
  refuse((await peer.next(Opcode.SUBSCRIBE)).id, 'RATE_LIMITED', 59_000)
  await until(() => errors.length > 0)
  t.match(errors, [{ code: 'RATE_LIMITED', message: /"k" is delayed: rate limit exceeded; the client retries in 59000 ms/ }])
  client.subscribeState('mine', () => {}, { onError: (error) => { own.push(error) } })
  refuse((await peer.next(Opcode.SUBSCRIBE)).id, 'INTERNAL', 6000)
  client.crdt('c', 'pn-counter').subscribe(() => {})
  refuse((await peer.next(Opcode.SUBSCRIBE)).id, 'RATE_LIMITED', 59_000)
  await until(() => errors.length > 1)
  t.match(errors[1], { code: 'RATE_LIMITED', message: /"c"/ })
  t.match(own, [{ code: 'INTERNAL' }])
})

t.test('subscriptions: where it is no rate limit, the wait grows', async (t) => {
  const { client, peer, errors } = await dial(t)
  t.intercept(Math, 'random', { value: () => 1 })
  client.subscribeState('k', () => {})
  let waited = 0
  for (let i = 0; i < 6; i++) {
    const { id } = await peer.next(Opcode.SUBSCRIBE)
    const before = performance.now()
    peer.send(Opcode.ERROR, id, { code: 'INTERNAL', message: 'the database is away', retryAfter: 10, key: 'k' })
    await peer.until(() => peer.received.length > 0)
    waited = performance.now() - before
  }
  t.ok(waited >= 10 + 10 * 2 ** 4 - 1, `${waited} ms`)
  t.strictSame(errors, [])
})

t.test('a handler may throw, end its subscription or make another', async (t) => {
  const { client, peer, errors } = await dial(t)
  const { told, handler, times } = teller()
  const mistake = new Error('mine')
  const breath: string[] = []
  const more = (): void => {
    breath.push('more')
    if (breath.length < 100) client.subscribeState('k', more)
  }
  client.subscribeState('k', () => { throw mistake })
  client.subscribeState('k', more)
  const end = client.subscribeState('k', () => {
    end()
    endNext()
  })
  const endNext = client.subscribeState('k', () => { t.fail('it has ended') })
  client.subscribeState('k', (value, head) => {
    breath.push('last')
    queueMicrotask(() => { breath.push('then') })
    handler(value, head)
  })
  snapshot(peer, (await peer.next(Opcode.SUBSCRIBE)).id, 1, 1)
  await times(1)
  t.strictSame(told, [[1, 1]])
  t.strictSame(errors, [mistake])
  await new Promise((resolve) => setImmediate(resolve))
  t.strictSame(breath.slice(0, 4), ['more', 'last', 'more', 'then'], 'a subscriber that came meanwhile is told after all others, and not in the same breath')
})

t.test('subscriptions: a subscriber that comes in the midst of messages is told of a version once', async (t) => {
  const { client, peer } = await dial(t)
  const { handler, times, told } = teller()
  const end = client.subscribeState('k', handler)
  snapshot(peer, (await peer.next(Opcode.SUBSCRIBE)).id, 1, 1)
  await times(1)
  const late = teller()
  client.on('now', () => { client.subscribeState('k', late.handler) })
  // in one piece, so that both are handled in one go
  const stream = (peer.socket as unknown as { _socket: Socket })._socket
  stream.cork()
  peer.send(Opcode.EVENT_S2C, 0, { event: 'now', data: null, timestamp: 0 })
  patch(peer, 0, 1, 2, 2)
  stream.uncork()
  await times(2)
  await late.times(1)
  patch(peer, 0, 2, 3, 3)
  await times(3)
  end()
  t.strictSame(late.told, [[2, 2], [3, 3]])
  t.strictSame(told, [[1, 1], [2, 2], [3, 3]])
})

t.test('subscriptions: a first value that a later subscriber brings reaches the earlier ones', async (t) => {
  const { client, peer } = await dial(t)
  const { told, handler } = teller()
  client.subscribeState('k', handler)
  const { id } = await peer.next(Opcode.SUBSCRIBE)
  client.subscribeState('k', () => {}, { initial: { value: 'rendered', epoch: 'e', version: 7 } })
  snapshot(peer, id, 7, 'rendered')
  await until(() => client.getStateStatus('k') === 'live')
  t.strictSame(told, [['rendered', 7]])
})
