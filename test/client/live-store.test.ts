import t from 'tap'
import { liveStore } from '../../lib/client/live-store.js'
import type { DatasoleError, SubscriptionStatus } from '../../lib/client/client.js'
import { Opcode } from '../../lib/protocol/opcodes.js'
import { until } from '../helpers/until.js'
import { dial, watch } from './dialled.js'
import { type Peer, listen } from './peer.js'

const { SUBSCRIBE, UNSUBSCRIBE, STATE_PATCH, STATE_SNAPSHOT, ERROR } = Opcode

async function answer (peer: Peer, version: number, data?: unknown): Promise<void> {
  const { id } = await peer.next(SUBSCRIBE)
  peer.send(STATE_SNAPSHOT, id, { key: 'k', epoch: 'e', version, data })
}

t.test('subscribeState: a selector calls the handler only when its part is another', async (t) => {
  const { client, peer } = await dial(t)
  const told: unknown[] = []
  const lengths: number[] = []
  client.subscribeState('k', (b) => { told.push(b) }, { selector: (value) => (value as { b?: unknown } | undefined)?.b })
  client.subscribeState('k', (list: number[], head) => { lengths.push(list.length, head.version) }, {
    selector: (value) => [...(value as { list: number[] }).list],
    equals: (a, b) => a.length === b.length
  })
  await answer(peer, 1, { a: 1, b: { c: 1 }, list: [1] })
  peer.send(STATE_PATCH, 0, { key: 'k', epoch: 'e', from: 1, version: 2, patches: [{ op: 'replace', path: '/a', value: 2 }] })
  peer.send(STATE_PATCH, 0, { key: 'k', epoch: 'e', from: 2, version: 3, patches: [{ op: 'replace', path: '/list/0', value: 5 }] })
  peer.send(STATE_PATCH, 0, { key: 'k', epoch: 'e', from: 3, version: 4, patches: [{ op: 'replace', path: '/b/c', value: 2 }, { op: 'add', path: '/list/-', value: 6 }] })
  await until(() => lengths.length === 4)
  t.strictSame(told, [{ c: 1 }, { c: 2 }])
  t.strictSame(lengths, [1, 1, 2, 4])
  t.throws(() => client.subscribeState('k', () => {}, { selector: 'b' as never }), { code: 'INVALID_ARGUMENT' })
})

t.test('subscribeState: the handler gets the patches that led from the last value', async (t) => {
  const { client, peer } = await dial(t)
  const told: unknown[] = []
  client.subscribeState('k', (value, _head, patches) => { told.push([value, patches]) })
  await answer(peer, 1, { a: 1 })
  const patches = [{ op: 'replace', path: '/a', value: 2 }]
  peer.send(STATE_PATCH, 0, { key: 'k', epoch: 'e', from: 1, version: 2, patches })
  await until(() => told.length === 2)
  t.strictSame(told, [[{ a: 1 }, undefined], [{ a: 2 }, patches]])
})

t.test('subscribeState: the status from loading to live, stale, live and denied', async (t) => {
  const { client, peer, server } = await dial(t)
  const statuses: SubscriptionStatus[] = []
  const refusals: DatasoleError[] = []
  t.equal(client.getStateStatus('k'), undefined)
  const end = client.subscribeState('k', () => { statuses.push(client.getStateStatus('k')!) }, { onStatus: (status) => { statuses.push(status) }, onError: (error) => { refusals.push(error) } })
  t.equal(client.getStateStatus('k'), 'loading')
  await answer(peer, 1, { a: 1 })
  await until(() => statuses.length === 2)
  t.strictSame(statuses, ['live', 'live'], 'a handler already sees the new status')
  const late: SubscriptionStatus[] = []
  client.subscribeState('k', () => {}, { onStatus: (status) => { late.push(status) } })
  await until(() => late.length === 1)
  peer.socket.terminate()
  const again = (await server.accept()).welcome()
  const { id } = await again.next(SUBSCRIBE)
  t.equal(client.getStateStatus('k'), 'stale')
  again.send(STATE_PATCH, id, { key: 'k', epoch: 'e', from: 1, version: 1, patches: [] })
  await until(() => late.length === 3)
  again.socket.terminate()
  const third = (await server.accept()).welcome()
  third.send(ERROR, (await third.next(SUBSCRIBE)).id, { code: 'FORBIDDEN', message: 'no' })
  await until(() => late.length === 5)
  t.strictSame(late, ['live', 'stale', 'live', 'stale', 'denied'])
  t.match(refusals, [{ code: 'FORBIDDEN' }])
  end()
})

t.test('subscribeState: it follows a value that a server rendered from its version', async (t) => {
  const { client, peer } = await dial(t)
  const told: unknown[] = []
  client.subscribeState('k', (value, { version }) => { told.push([value, version, client.getStateStatus('k')]) }, { initial: { value: { a: 1 }, epoch: 'e', version: 7 } })
  const request = await peer.next(SUBSCRIBE)
  t.strictSame(request.payload, { key: 'k', epoch: 'e', version: 7 })
  t.strictSame(told, [[{ a: 1 }, 7, 'stale']])
  peer.send(STATE_PATCH, request.id, { key: 'k', epoch: 'e', from: 7, version: 8, patches: [{ op: 'replace', path: '/a', value: 2 }] })
  await until(() => told.length === 2)
  t.strictSame(told[1], [{ a: 2 }, 8, 'live'])
})

t.test('live store: one snapshot per change, and one subscription for all listeners', async (t) => {
  const { client, peer, server } = await dial(t)
  const store = liveStore(client, 'k', { keepMs: 0 })
  t.equal(liveStore(client, 'k'), store)
  t.match(store.getSnapshot(), { value: undefined, status: 'loading', version: undefined })
  const seen: unknown[] = []
  const end = store.subscribe((patches) => { seen.push([store.getSnapshot(), patches]) })
  const endOther = store.subscribe(() => {})
  await answer(peer, 1, { a: 1 })
  await until(() => seen.length === 1)
  t.match(seen, [[{ value: { a: 1 }, status: 'live', epoch: 'e', version: 1, error: undefined }, undefined]])
  t.equal(store.getSnapshot(), store.getSnapshot())
  const patches = [{ op: 'replace', path: '/a', value: 2 }]
  peer.send(STATE_PATCH, 0, { key: 'k', epoch: 'e', from: 1, version: 2, patches })
  await until(() => seen.length === 2)
  t.match(seen[1], [{ value: { a: 2 }, version: 2 }, patches])
  peer.socket.terminate()
  await until(() => seen.length === 3)
  t.match(seen[2], [{ value: { a: 2 }, status: 'stale' }, undefined])
  const again = (await server.accept()).welcome()
  await again.next(SUBSCRIBE)
  end()
  endOther()
  await again.next(UNSUBSCRIBE)
  t.not(liveStore(client, 'k'), store, 'an unused store is forgotten')
})

t.test('live store: it outlives its last listener by keepMs', async (t) => {
  const { client, peer } = await dial(t)
  const store = liveStore(client, 'k', { keepMs: 100_000 })
  const end = store.subscribe(() => {})
  await answer(peer, 1, 'value')
  await store.ready()
  end()
  t.equal(client.getStateStatus('k'), 'live')
  const seen: unknown[] = []
  liveStore(client, 'k').subscribe(() => { seen.push(0) })
  client.emit('fence')
  await peer.next(Opcode.EVENT_C2S)
  t.strictSame([peer.received, seen, store.getSnapshot().value], [[], [], 'value'], 'nothing is asked for or told again')
})

t.test('live store: ready waits for a value or a refusal', async (t) => {
  const { client, peer } = await dial(t)
  const known = liveStore(client, 'k').ready()
  await answer(peer, 0)
  await known
  t.match(liveStore(client, 'k').getSnapshot(), { value: undefined, status: 'live', version: 0 })
  const store = liveStore(client, 'secret')
  const denied = store.ready()
  peer.send(ERROR, (await peer.next(SUBSCRIBE)).id, { code: 'FORBIDDEN', message: 'no' })
  await denied
  t.match(store.getSnapshot(), { status: 'denied', error: { code: 'FORBIDDEN' } })
})

t.test('live store: a value that a server rendered is there at once', async (t) => {
  const server = await listen(t)
  const { client } = watch(t, { url: server.url })
  const store = liveStore(client, 'k', { initial: { value: [1], epoch: 'e', version: 3 } })
  t.match(store.getSnapshot(), { value: [1], status: 'stale', epoch: 'e', version: 3 })
  await store.ready()
  store.subscribe(() => {})
  void client.connect()
  const peer = (await server.accept()).welcome()
  const request = await peer.next(SUBSCRIBE)
  t.strictSame(request.payload, { key: 'k', epoch: 'e', version: 3 })
  peer.send(STATE_PATCH, request.id, { key: 'k', epoch: 'e', from: 3, version: 3, patches: [] })
  await until(() => store.getSnapshot().status === 'live')
})

t.test('live store: a listener that throws does not keep the others from a change', async (t) => {
  const { client, peer, errors } = await dial(t)
  const store = liveStore(client, 'k')
  const seen: unknown[] = []
  store.subscribe(() => { throw new Error('a listener') })
  store.subscribe(() => { seen.push(store.getSnapshot().version) })
  await answer(peer, 1, 'value')
  await until(() => errors.length === 1)
  t.match(errors, [{ message: 'a listener' }])
  t.strictSame(seen, [1])
})

t.test('live store: a listener that an earlier one removes is not called', async (t) => {
  const { client, peer } = await dial(t)
  const store = liveStore(client, 'k')
  let end = (): void => {}
  store.subscribe(() => { end() })
  end = store.subscribe(() => { t.fail('it was removed') })
  await answer(peer, 1, 'value')
  await store.ready()
})

t.test('live store: keepMs may be Infinity', async (t) => {
  const { client } = await dial(t)
  const store = liveStore(client, 'k', { keepMs: Infinity })
  store.subscribe(() => {})()
  liveStore(client, 'other', { keepMs: 0 }).subscribe(() => {})()
  await until(() => client.getStateStatus('other') === undefined)
  t.equal(client.getStateStatus('k'), 'loading')
  t.equal(liveStore(client, 'k'), store)
})

t.test('live store: one that is used again after its end goes on from what it had, and leaves its successor alone', async (t) => {
  const { client, peer } = await dial(t)
  const store = liveStore(client, 'k', { keepMs: 0, initial: { value: 'old', epoch: 'e', version: 1 } })
  const end = store.subscribe(() => {})
  await answer(peer, 3, 'new')
  await until(() => store.getSnapshot().version === 3)
  end()
  await peer.next(UNSUBSCRIBE)
  t.match(store.getSnapshot(), { value: 'new', status: 'stale', version: 3 })
  const versions: unknown[] = []
  const endAgain = store.subscribe(() => { versions.push(store.getSnapshot().version) })
  t.strictSame((await peer.next(SUBSCRIBE)).payload, { key: 'k', epoch: 'e', version: 3 })
  const successor = liveStore(client, 'k')
  endAgain()
  await peer.next(UNSUBSCRIBE)
  t.equal(liveStore(client, 'k'), successor)
  t.notOk(versions.includes(1))
})
