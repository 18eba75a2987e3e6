import t from 'tap'
import { type ClientCounter, crdtHandle } from '../../lib/client/client-crdt-handle.js'
import { ClientCrdts } from '../../lib/client/client-crdts.js'
import { Opcode } from '../../lib/protocol/opcodes.js'
import { node } from '../helpers/nodes.js'
import { proxy } from '../helpers/proxy.js'
import { type Watched, watch } from './dialled.js'
import { until } from '../helpers/until.js'

interface AppContract {
  crdts: {
    likes: { type: 'pn-counter' }
    title: { type: 'lww-register', value: string }
    prefs: { type: 'lww-map', value: { color: string, size: number } }
  }
}

/** Resolves once the handle's value is right; looked at after each change. */
async function holds<V> (handle: { readonly value: V, subscribe (fn: (value: V) => void): () => void }, isIt: (value: V) => boolean): Promise<void> {
  let end = (): void => {}
  await new Promise<void>((resolve) => {
    end = handle.subscribe((value) => { if (isIt(value)) resolve() })
    if (isIt(handle.value)) resolve()
  })
  end()
}

async function acknowledged (...handles: Array<{ readonly isPending: boolean }>): Promise<void> {
  await until(() => handles.every(({ isPending }) => !isPending))
}

t.test('crdts: operations are seen at once, and by everyone', async (t) => {
  const { ds, url } = await node(t)
  const [{ client: ann }, { client: bob }] = [watch<AppContract>(t, { url }), watch<AppContract>(t, { url })] as [Watched<AppContract>, Watched<AppContract>]
  await Promise.all([ann.connect(), bob.connect()])
  const likes = ann.crdt('likes', 'pn-counter')
  likes.increment()
  likes.increment(5)
  likes.decrement(2)
  t.equal(likes.value, 4)
  t.equal(likes.isPending, true)
  const others = bob.crdt('likes', 'pn-counter')
  await holds(others, (value) => value === 4)
  others.increment(10)
  await holds(likes, (value) => value === 14)
  const title = ann.crdt('title', 'lww-register')
  t.equal(title.value, undefined)
  title.set('one')
  t.equal(title.value, 'one')
  await holds(bob.crdt('title', 'lww-register'), (value) => value === 'one')
  bob.crdt('title', 'lww-register').set('two')
  await holds(title, (value) => value === 'two')
  const [prefs, theirs] = [ann.crdt('prefs', 'lww-map'), bob.crdt('prefs', 'lww-map')]
  prefs.set('color', 'red')
  theirs.set('size', 3)
  await holds(prefs, (value) => value.color === 'red' && value.size === 3)
  await holds(theirs, (value) => value.color === 'red' && value.size === 3)
  theirs.remove('color')
  t.strictSame(theirs.value, { size: 3 })
  await holds(prefs, (value) => !('color' in value))
  await acknowledged(likes, others, title, prefs, theirs)
  t.equal(await ds.primitives.crdt.getValue('likes'), 14)
  t.strictSame(await ds.primitives.crdt.getValue('prefs'), { size: 3 })
})

t.test('a channel of mode crdt is a CRDT to clients', async (t) => {
  const { ds, url } = await node(t)
  const { live } = ds.primitives
  const flush = { flushStrategy: 'batched', batchIntervalMs: 10 } as const
  const shared = live.createSyncChannel({ key: 'likes', direction: 'bidirectional', mode: 'crdt', flush, initialValue: 5 })
  const own = live.createSyncChannel({ key: 'prefs', direction: 'client-to-server', mode: 'crdt', flush, initialValue: { color: 'red' } })
  const down = live.createSyncChannel({ key: 'title', direction: 'server-to-client', mode: 'crdt', flush, initialValue: 'one' })
  const heard: unknown[][] = []
  own.onFlush((value, _patches, connection) => { heard.push([value, connection?.connectionId]) })
  const [{ client: ann }, { client: bob, errors }] = [watch<AppContract>(t, { url }), watch<AppContract>(t, { url })] as [Watched<AppContract>, Watched<AppContract>]
  await Promise.all([ann.connect(), bob.connect()])

  const [likes, others] = [ann.crdt('likes', 'pn-counter'), bob.crdt('likes', 'pn-counter')]
  await holds(likes, (value) => value === 5)
  likes.increment(3)
  others.decrement()
  await shared.update((count) => (count as number) + 10)
  await Promise.all([likes, others].map((handle) => holds(handle, (value) => value === 17)))
  t.equal(await shared.get(), 17)

  const [prefs, theirs] = [ann.crdt('prefs', 'lww-map'), bob.crdt('prefs', 'lww-map')]
  await holds(prefs, ({ color }) => color === 'red')
  prefs.set('size', 3)
  t.strictSame(prefs.value, { color: 'red', size: 3 })
  await acknowledged(prefs)
  await until(() => heard.length !== 0)
  t.strictSame(heard, [[{ color: 'red', size: 3 }, ann.connectionId]])
  await holds(theirs, ({ color }) => color === 'red')
  t.strictSame(theirs.value, { color: 'red' }, 'each has its own')

  const title = bob.crdt('title', 'lww-register')
  await holds(title, (value) => value === 'one')
  title.set('mine')
  await holds(title, (value) => value === 'one')
  t.match(errors, [{ code: 'UNKNOWN_KEY' }], 'which only the server writes')
  await down.set('two')
  await holds(title, (value) => value === 'two')
})

t.test('crdts: what is done offline is sent once there is a connection, together, and counts once', async (t) => {
  const { ds, url } = await node(t)
  const { port } = new URL(url)
  const way = await proxy(t, Number(port))
  const { client } = watch<AppContract>(t, { url: url.replace(port, String(way.port)) })
  const likes = client.crdt('likes', 'pn-counter')
  for (let i = 0; i < 500; i++) likes.increment()
  t.equal(likes.value, 500)
  await client.connect()
  await acknowledged(likes)
  t.equal(await ds.primitives.crdt.getValue('likes'), 500, 'with a rate limit of 100')
  way.swallow('down')
  likes.increment(7)
  await holds({ value: 0, subscribe: (fn) => ds.primitives.crdt.onChange((_key, value) => { fn(value as number) }) }, (value) => value === 507)
  way.cut()
  likes.increment(1)
  t.equal(likes.value, 508)
  await acknowledged(likes)
  t.equal(likes.value, 508)
  t.equal(await ds.primitives.crdt.getValue('likes'), 508, 'one whose acknowledgement was lost counts once')
})

t.test('crdts: what the server refuses is undone, and told', async (t) => {
  const { ds, url } = await node(t, { rateLimit: { defaultRule: { windowMs: 300, maxRequests: 5 } }, prepare: (ds) => { ds.addHook('prePush', (_ctx, { data }) => { if ((data as { value: number }).value === 13) throw new Error('unlucky') }) } })
  const { client, errors } = watch<AppContract>(t, { url })
  await client.connect()
  const likes = client.crdt('likes', 'pn-counter')
  const told: unknown[] = []
  likes.subscribe(() => {}, { onError: ({ code }) => { told.push(code) } })
  likes.increment(1)
  await acknowledged(likes)
  likes.increment(13)
  t.equal(likes.value, 14)
  await holds(likes, (value) => value === 1)
  t.strictSame(told, ['FORBIDDEN'])
  for (let i = 0; i < 20; i++) {
    likes.increment(2)
    await new Promise((resolve) => setImmediate(resolve))
  }
  await acknowledged(likes)
  t.equal(await ds.primitives.crdt.getValue('likes'), 41, 'what the rate limit refuses is sent later')
  t.strictSame(errors, [])
  t.throws(() => { likes.increment(-1) }, { code: 'INVALID_ARGUMENT' })
  t.throws(() => { client.crdt('likes', 'lww-map' as never) }, { code: 'TYPE_MISMATCH' })
  for (const type of ['nope', undefined, 'toString']) t.throws(() => { client.crdt('other' as never, type as never) }, { name: 'TypeError', code: 'INVALID_ARGUMENT', message: /"other".*pn-counter/ })
  client.crdt('title', 'pn-counter' as never)
  await ds.primitives.crdt.apply('prefs', { type: 'lww-register', op: 'set', value: 1 })
  const wrong = client.crdt('prefs', 'lww-map')
  const mismatch = await new Promise<{ code: string }>((resolve) => { wrong.subscribe(() => {}, { onError: resolve }) })
  t.equal(mismatch.code, 'TYPE_MISMATCH')
})

t.test('crdts: a clock that is ahead is put right by the server', async (t) => {
  const { ds, url } = await node(t)
  const { client, errors } = watch<AppContract>(t, { url })
  await client.connect()
  const real = Date.now
  const title = client.crdt('title', 'lww-register')
  t.teardown(() => { Date.now = real })
  // this process has one clock: only while the client looks at it is it wrong
  Date.now = () => real() + 3_600_000
  title.set('from the future')
  Date.now = real
  await acknowledged(title)
  t.strictSame(errors, [])
  t.equal(await ds.primitives.crdt.getValue('title'), 'from the future')
  await ds.primitives.crdt.apply('title', { type: 'lww-register', op: 'set', value: 'later' })
  await holds(title, (value) => value === 'later')
})

t.test('crdts: a handle that is closed and opened again counts on', async (t) => {
  const { ds, url } = await node(t)
  const { client } = watch<AppContract>(t, { url })
  await client.connect()
  for (let i = 1; i <= 3; i++) {
    const likes = client.crdt('likes', 'pn-counter')
    likes.increment()
    likes.close()
    await acknowledged(likes)
    t.equal(await ds.primitives.crdt.getValue('likes'), i)
  }
})

/** CRDTs without a connection, and what they would have sent. */
function alone () {
  const sent: Array<{ id: number, message: { key: string, op?: { seq: number, value: number } } }> = []
  const errors: unknown[] = []
  let id = 0
  const host = { isConnected: true, nextId: () => ++id, send: (_opcode: number, id: number, message: object) => { sent.push({ id, message: message as { key: string } }) }, onError: (error: unknown) => { errors.push(error) } }
  const crdts = new ClientCrdts(host)
  return {
    crdts,
    errors,
    sent,
    likes: crdtHandle(crdts, 'likes', 'pn-counter') as ClientCounter,
    answer () { crdts.receive(Opcode.CRDT_STATE, sent.at(-1)!.id, { key: 'likes', epoch: 'e', version: 0 }) },
    /** What is sent next. */
    async next () {
      await until(() => sent.length !== 0)
      return sent.splice(0)
    }
  }
}

t.test('crdts: one that may have been counted is sent again as it was, though a rate limit refuses it first', async (t) => {
  const { crdts, likes, answer, sent, next } = alone()
  answer()
  sent.length = 0
  likes.increment(1)
  const [first] = await next()
  t.match(first!.message.op, { seq: 1, value: 1 })
  crdts.disconnected()
  crdts.connected()
  answer()
  sent.length = 0
  const [again] = await next()
  t.strictSame(again!.message.op, first!.message.op)
  crdts.refused(again!.id, { code: 'RATE_LIMITED', message: 'later', retryAfter: 1 })
  likes.increment(5)
  t.match((await next()).map(({ message }) => message.op), [{ seq: 1, value: 1 }, { seq: 2, value: 5 }])
})

t.test('crdts: what the network has no room for is sent later', async (t) => {
  const { crdts, likes, errors, answer, sent, next } = alone()
  const { id: subscribe } = sent.splice(0)[0]!
  t.equal(crdts.unsent(subscribe, { code: 'BUSY', message: 'no room' }), true)
  likes.increment(3)
  t.match(await next(), [{ message: { op: { seq: 1, value: 3 } } }])
  sent.push(...await next())
  t.equal(sent.length, 1, 'the subscription')
  answer()
  sent.length = 0
  likes.increment(4)
  const { id } = (await next())[0]!
  t.equal(crdts.unsent(id, { code: 'BUSY', message: 'no room' }), true)
  t.equal(likes.value, 7)
  t.match(await next(), [{ message: { op: { seq: 2, value: 4 } } }])
  t.strictSame(errors, [])
})

t.test('crdts: a field that has lost against a removal that was forgotten is undone on its client', async (t) => {
  const { ds, url } = await node(t)
  const { client } = watch<AppContract>(t, { url })
  const prefs = client.crdt('prefs', 'lww-map')
  prefs.set('color', 'red')
  await new Promise((resolve) => setTimeout(resolve, 5))
  for (let i = 0; i < 2500; i++) void ds.primitives.crdt.apply('prefs', { type: 'lww-map', op: 'remove', key: `f${i}` })
  await ds.primitives.crdt.apply('prefs', { type: 'lww-map', op: 'remove', key: 'last' })
  const refused = new Promise<{ code: string }>((resolve) => { prefs.subscribe(() => {}, { onError: resolve }) })
  await client.connect()
  await acknowledged(prefs)
  t.strictSame(prefs.value, await ds.primitives.crdt.getValue('prefs') as object)
  t.equal((await refused).code, 'CONFLICT')
})

t.test('crdts: who logs in as another user goes on writing, and nothing is lost or counted twice', async (t) => {
  const { ds, url } = await node(t, {
    rateLimit: false,
    authHandler: (req) => ({ authenticated: true, userId: String(req.headers.authorization) })
  })
  let user = 'ann'
  const { client, errors } = watch<AppContract>(t, { url, getToken: () => user })
  const { client: other } = watch<AppContract>(t, { url, getToken: () => 'eve' })
  await Promise.all([client.connect(), other.connect()])
  const likes = client.crdt('likes', 'pn-counter')
  const prefs = client.crdt('prefs', 'lww-map')
  likes.increment()
  prefs.set('color', 'red')
  await acknowledged(likes, prefs)
  for (const [i, name] of ['bob', 'cid', 'bob'].entries()) {
    user = name
    await client.disconnect()
    await client.connect()
    // several are under way when the first is refused
    for (let j = 0; j < 5; j++) {
      likes.increment()
      prefs.set('size', 10 * i + j)
      await new Promise(setImmediate)
    }
    await acknowledged(likes, prefs)
    const count = 1 + 5 * (i + 1)
    await holds(likes, (value) => value === count)
    t.equal(await ds.primitives.crdt.getValue('likes'), count)
    t.strictSame(await ds.primitives.crdt.getValue('prefs'), { color: 'red', size: 10 * i + 4 })
    other.crdt('likes', 'pn-counter').increment(0)
  }
  t.equal(likes.value, 16)
  t.strictSame(errors, [])
})

t.test('crdts: what the server has acknowledged of a channel client-to-server is on the next connection, too', async (t) => {
  const { ds, url } = await node(t, { rateLimit: false, authHandler: () => ({ authenticated: true, userId: 'ann' }) })
  const heard: Record<string, unknown> = {}
  const initial = { likes: 5, title: 'one', prefs: { color: 'red', size: 1 } }
  for (const [key, initialValue] of Object.entries(initial)) {
    const own = ds.primitives.live.createSyncChannel({ key, direction: 'client-to-server', mode: 'crdt', initialValue })
    own.onFlush((value, _patches, connection) => { heard[`${connection!.connectionId} ${key}`] = value })
  }
  const { client, errors, until: eventually } = watch<AppContract>(t, { url })
  await client.connect()
  const [likes, title, prefs] = [client.crdt('likes', 'pn-counter'), client.crdt('title', 'lww-register'), client.crdt('prefs', 'lww-map')]
  for (const handle of [likes, title, prefs]) handle.subscribe(() => {})
  likes.increment(3)
  title.set('two')
  prefs.set('size', 2)
  prefs.remove('color')
  await acknowledged(likes, title, prefs)
  for (let round = 1; round <= 3; round++) {
    const last = client.connectionId
    ds.disconnectUser('ann', { code: 1001 })
    await eventually(() => client.getConnectionState() !== 'connected')
    likes.decrement()
    if (round === 2) prefs.set('size', 3)
    await eventually(() => client.getConnectionState() === 'connected')
    t.not(client.connectionId, last)
    await acknowledged(likes, title, prefs)
    const expected = { likes: 8 - round, title: 'two', prefs: { size: round > 1 ? 3 : 2 } }
    for (const [key, value] of Object.entries(expected)) {
      await until(() => JSON.stringify(heard[`${client.connectionId} ${key}`]) === JSON.stringify(value))
    }
    t.strictSame({ likes: likes.value, title: title.value, prefs: prefs.value }, expected)
  }
  t.strictSame(errors, [])
})
