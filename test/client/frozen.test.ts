import fc from 'fast-check'
import t from 'tap'
import { deepFreeze } from '../../lib/protocol/frozen.js'
import { applyFrozen, applyPatch } from '../../lib/protocol/patch.js'
import { containersOf, json, operationSeeds, operationsOn } from '../protocol/arbitrary-json.js'
import { node } from '../helpers/nodes.js'
import { watch } from './dialled.js'
import { until } from '../helpers/until.js'

const isFrozen = (value: unknown): boolean => containersOf(value).every((container) => Object.isFrozen(container))

/** Tries everything that a listener can do to a value, at every depth. */
function spoil (value: unknown): void {
  for (const container of containersOf(value)) {
    for (const key of Object.keys(container)) {
      try { (container as Record<string, unknown>)[key] = 'spoilt' } catch {} // as it should
      try { delete (container as Record<string, unknown>)[key] } catch {} // as it should
    }
    try { Object.assign(container, { spoilt: true }) } catch {} // as it should
    try { if (Array.isArray(container)) container.push('spoilt') } catch {} // as it should
  }
}

t.test('a patch of a frozen value gives a frozen one, and shares what it leaves alone', async (t) => {
  let applied = 0
  fc.assert(fc.property(json, operationSeeds(), (root, seeds) => {
    const patches = operationsOn(root, seeds)
    const expected = ((): string | undefined => {
      try {
        return JSON.stringify(applyPatch(root, structuredClone(patches)))
      } catch {
        return undefined // it does not apply
      }
    })()
    const frozen = deepFreeze(structuredClone(root))
    const before = new Set(containersOf(frozen))
    if (expected === undefined) return true
    const after = applyFrozen(frozen, structuredClone(patches))
    applied++
    // one operation makes anew what is on its path, and what it inserts
    const [only] = patches
    if (patches.length === 1 && only!.op === 'replace' && only!.path !== '') {
      const depth = only!.path.split('/').length - 1
      const fresh = containersOf(after).filter((container) => !before.has(container)).length
      if (fresh > depth + containersOf(only!.value).length) return false
    }
    return JSON.stringify(after) === expected && isFrozen(after) && JSON.stringify(frozen) === JSON.stringify(root)
  }), { numRuns: 2000 })
  t.ok(applied > 1000, `${applied} patches applied`)
})

t.test('frozen: a listener that sorts its value does not make another write hit another record', async (t) => {
  const { url, ds } = await node(t, { rateLimit: false })
  interface Board { items: { id: number, done?: boolean }[] }
  const channel = ds.primitives.live.createSyncChannel<string>({ key: 'board', direction: 'bidirectional', mode: 'json-patch', initialValue: { items: [{ id: 3 }, { id: 2 }, { id: 1 }] } })
  const { client, errors } = watch<{ state: { board: Board } }>(t, { url })
  await client.connect()
  const board = client.channel('board')
  const seen: unknown[] = []
  board.subscribe((value) => { (value as Board).items.sort((a, b) => a.id - b.id) })
  board.subscribe((value) => { seen.push(JSON.stringify(value)) })
  client.subscribeState('board', spoil)
  await until(() => seen.length > 0)
  t.match(errors[0], { name: 'TypeError' }, 'it is told, and the others still hear')
  board.update((draft) => { draft!.items.find(({ id }) => id === 1)!.done = true })
  await board.saved()
  const expected = { items: [{ id: 3 }, { id: 2 }, { id: 1, done: true }] }
  t.strictSame(await channel.get(), expected)
  t.strictSame(JSON.parse(seen.at(-1) as string), expected)
  await until(() => client.getState('board')?.items[2]?.done === true)
})

t.test('whatever a client hands out is frozen, and what a listener tries reaches nobody', async (t) => {
  const { url, ds } = await node(t, { rateLimit: false })
  const { live, crdt, fanout } = ds.primitives
  const shared = live.createSyncChannel<string>({ key: 'shared', direction: 'bidirectional', mode: 'json-patch', initialValue: { a: [{ n: 0 }], b: { c: [1] } } })
  live.createSyncChannel<string>({ key: 'own', direction: 'client-to-server', mode: 'snapshot', initialValue: { a: [{ n: 0 }] } })
  const map = crdt.register('map', 'lww-map')
  crdt.register('register', 'lww-register')
  const { client } = watch(t, { url })
  await client.connect()
  const handed: unknown[] = []
  const take = (value: unknown, head?: unknown): void => {
    handed.push(value, head)
    if (!isFrozen(value) || !isFrozen(head)) t.fail(`not frozen: ${JSON.stringify([value, head])}`)
    spoil(value)
    spoil(head)
  }
  client.subscribeState('shared', take)
  client.on('event', take)
  let heard: unknown
  client.on('event', ({ data }) => { heard = data })
  for (const key of ['shared', 'own']) client.channel(key).subscribe(take)
  client.crdt('map', 'lww-map').subscribe(take)
  client.crdt('register', 'lww-register').subscribe(take)
  interface Value { a: { n: number }[], b?: { c: unknown[] } }
  for (let i = 1; i <= 10; i++) {
    // other writers, own changes that wait for the server, and those that follow before it has answered
    await shared.update((draft) => { (draft as Value).b!.c.push({ from: 'server', i }) })
    for (const key of ['shared', 'own']) client.channel(key).update((draft) => { (draft as Value).a.push({ n: i }); (draft as Value).a[0]!.n++ })
    client.crdt('map', 'lww-map').set(`f${i}`, { deep: [i] })
    client.crdt('register', 'lww-register').set([{ i }])
    await map.set('server', { deep: [i] })
    fanout.broadcast('event', { list: [{ i }] })
    if (i === 5) client.channel('own').set({ a: [{ n: 100 }] })
    if (i === 7) { await client.disconnect(); await client.connect() }
    take(client.channel('shared').get())
    take(client.getState('shared'))
    take(client.crdt('map', 'lww-map').value)
  }
  await Promise.all(['shared', 'own'].map((key) => client.channel(key).saved()))
  const final = await shared.get() as Value
  t.equal(final.a.length, 11)
  t.strictSame(final.a[0], { n: 10 })
  t.equal(final.b!.c.length, 11)
  await until(() => JSON.stringify(client.channel('shared').get()) === JSON.stringify(final))
  t.notMatch(JSON.stringify([client.channel('shared').get(), client.channel('own').get(), client.getState('shared'), heard, await crdt.getValue('map')]), /spoilt/)
  await until(() => JSON.stringify(client.crdt('map', 'lww-map').value) !== '{}')
  t.strictSame(client.crdt('register', 'lww-register').value, [{ i: 10 }])
  t.ok(handed.length > 50)
})

t.test('frozen: a result of a call is the caller\'s own', async (t) => {
  const { url, ds } = await node(t, { rateLimit: false })
  const kept = { list: [1] }
  ds.rpc.register('kept', () => kept)
  const { client } = watch(t, { url })
  await client.connect()
  const [first, second] = [await client.rpc('kept'), await client.rpc('kept')] as [{ list: number[] }, { list: number[] }]
  first.list.push(2)
  t.strictSame(second, { list: [1] })
  t.strictSame(kept, { list: [1] })
})
