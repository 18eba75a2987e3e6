import { setTimeout } from 'node:timers/promises'
import t from 'tap'
import { MemoryBackend } from '../../lib/backend/memory/memory.js'
import type { Unsubscribe } from '../../lib/client/client.js'
import { node } from '../helpers/nodes.js'
import { randomOf, seed } from '../helpers/random.js'
import { stores } from '../helpers/stores.js'
import { watch } from './dialled.js'
import { until } from '../helpers/until.js'

t.comment(`seed ${seed} (SEED=${seed} repeats this run)`)

/** One way to subscribe, and to make all subscribers hear something once. */
interface Kind { subscribe (fn: () => void): Unsubscribe, fire (): unknown, /** Whether a subscriber is told the value that there is. */ isTold?: boolean }

t.test('an unsubscriber ends its own subscription, however often it is called', async (t) => {
  const { url, ds } = await node(t, { rateLimit: false, session: { enableChangeStream: true } })
  const { live, crdt, sessions, events, fanout } = ds.primitives
  const channel = live.createSyncChannel({ key: 'channel', direction: 'bidirectional', mode: 'json-patch', initialValue: 0 })
  const counter = crdt.register('counter', 'pn-counter')
  const { client } = watch(t, { url })
  const other = watch(t, { url })
  await client.connect()
  await other.client.connect()
  await live.setState('state', 0)
  const mirrored = client.channel('channel')
  const clientCounter = client.crdt('counter', 'pn-counter')
  const memory = new MemoryBackend()
  let n = 0
  const kinds: Record<string, Kind> = {
    'client.on': { subscribe: (fn) => client.on('event', fn), fire: () => { fanout.broadcast('event', 1) } },
    'client.onConnectionState': { subscribe: (fn) => client.onConnectionState((state) => { if (state === 'connected') fn() }), fire: async () => { await client.disconnect(); await client.connect() } },
    subscribeState: { subscribe: (fn) => client.subscribeState('state', fn), fire: () => live.setState('state', ++n), isTold: true },
    'channel.subscribe': { subscribe: (fn) => mirrored.subscribe(fn), fire: () => channel.set(++n), isTold: true },
    'crdt.subscribe': { subscribe: (fn) => clientCounter.subscribe(fn), fire: () => counter.increment(), isTold: true },
    'events.on': { subscribe: (fn) => events.on('emitted', fn), fire: () => { events.emit('emitted', 1) } },
    onFlush: { subscribe: (fn) => channel.onFlush(fn), fire: () => channel.set(++n) },
    'sessions.onChange': { subscribe: (fn) => sessions.onChange(fn), fire: () => { sessions.set('ann', 'n', ++n) } },
    'crdt.onChange': { subscribe: (fn) => crdt.onChange(fn), fire: () => counter.increment() },
    'MemoryBackend.subscribe': { subscribe: (fn) => memory.subscribe('key', fn), fire: () => memory.publish('key', 1) }
  }
  const random = randomOf(seed)
  for (const [name, { subscribe, fire, isTold = false }] of Object.entries(kinds)) {
    let heard = 0
    const fn = (): void => { heard++ }
    const subscriptions = [subscribe(fn), subscribe(fn), subscribe(fn)]
    // one of another function, by which it is seen that all have been told
    let told = 0
    const end = subscribe(() => { told++ })
    if (isTold) await until(() => told > 0)
    await setTimeout(20) // and nothing more
    for (const left of [3, 2, 1, 0]) {
      heard = told = 0
      await fire()
      await until(() => told > 0)
      t.equal(heard, left, `${name} with ${left}`)
      if (left === 0) break
      const [ended] = subscriptions.splice(random(subscriptions.length), 1)
      if (random(2) === 0) ended!()
      else ended!.unsubscribe()
      ended!()
      ended!.unsubscribe()
    }
    end()
  }
})

t.test('unsubscribe: off ends the latest subscription of a function', async (t) => {
  const { url, ds: { primitives: { events, fanout } } } = await node(t, { rateLimit: false })
  const { client } = watch(t, { url })
  await client.connect()
  const heard: string[] = []
  const a = (): void => { heard.push('a') }
  const b = (): void => { heard.push('b') }
  for (const [side, on, off, fire] of [
    ['client', client.on.bind(client), client.off.bind(client), fanout.broadcast.bind(fanout)],
    ['server', events.on.bind(events), events.off.bind(events), events.emit.bind(events)]
  ] as const) {
    const ends = [on('x', a), on('x', b), on('x', a)]
    const told = async (): Promise<string> => {
      heard.length = 0
      let isOver = false
      const end = on('over', () => { isOver = true })
      fire('x', 1)
      fire('over', 1)
      await until(() => isOver)
      end()
      return heard.join('')
    }
    t.equal(await told(), 'aba', side)
    off('x', a)
    t.equal(await told(), 'ab', side)
    ends[2]!() // ended by off
    t.equal(await told(), 'ab', side)
    off('x', a)
    off('x', a)
    t.equal(await told(), 'b', side)
    for (const end of ends) end()
    t.equal(await told(), '', side)
  }
})

for (const name of Object.keys(stores)) {
  t.test(`a subscription of the ${name} backend ends by itself`, async (t) => {
    const backend = stores[name]!()()
    await backend.connect?.()
    t.teardown(() => backend.close?.())
    let heard = 0
    const fn = (): void => { heard++ }
    const [first, second] = [backend.subscribe('key', fn), backend.subscribe('key', fn)] as [Unsubscribe & { ready?: Promise<void> }, Unsubscribe & { ready?: Promise<void> }]
    let told = 0
    const witness = backend.subscribe('key', () => { told++ })
    await Promise.all([first.ready, second.ready, witness.ready])
    first.unsubscribe()
    first()
    await backend.publish('key', 1)
    await until(() => told === 1)
    t.equal(heard, 1)
    second()
    await backend.publish('key', 1)
    await until(() => told === 2)
    t.equal(heard, 1)
    witness()
  })
}

t.test('unsubscribe: an onFlush handler that changes its value does not change that of another', async (t) => {
  const { ds: { primitives: { live } } } = await node(t, { rateLimit: false })
  const channel = live.createSyncChannel<string>({ key: 'list', direction: 'server-to-client', mode: 'json-patch', initialValue: [1] })
  const seen: unknown[] = []
  const spoil = (value: unknown, patches: { value?: unknown }[]): void => {
    seen.push(JSON.stringify([value, patches]))
    ;(value as unknown[]).length = 0
    for (const operation of patches) operation.value = 'spoilt'
  }
  for (let i = 0; i < 3; i++) channel.onFlush(spoil as never)
  await channel.set([1, { a: 2 }])
  await until(() => seen.length === 3)
  t.equal(new Set(seen).size, 1, String(seen))
  t.strictSame(await channel.get(), [1, { a: 2 }])
})
