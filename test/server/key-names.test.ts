import t from 'tap'
import { MemoryBackend } from '../../lib/backend/memory/memory.js'
import { Opcode } from '../../lib/protocol/opcodes.js'
import { KeyNames } from '../../lib/server/keys/key-names.js'
import type { StateStore } from '../../lib/server/store/state-store.js'
import { ShakyBackend } from '../helpers/backends.js'
import { cluster, node } from '../helpers/nodes.js'
import { until } from '../helpers/until.js'

/** Names over a backend that answers when the test says so. */
function start (): { names: KeyNames, told: unknown[][], unsure: { count: number }, answer (live: string[] | Error): Promise<void> } {
  const waiting: Array<(live: string[] | Error) => void> = []
  const asked = async (): Promise<string[]> => await new Promise((resolve, reject) => {
    waiting.push((live) => { if (live instanceof Error) reject(live); else resolve(live) })
  })
  const store: Pick<StateStore, 'isLive' | 'holdsLive' | 'liveKeys'> = {
    isLive: async (key) => (await asked()).includes(key),
    holdsLive: (key) => key === 'held',
    liveKeys: asked
  }
  const told: unknown[][] = []
  const unsure = { count: 0 }
  const names = new KeyNames(store, { announce: (...what) => { told.push(what) }, unsure: () => { unsure.count++ } })
  return {
    names,
    told,
    unsure,
    async answer (live) {
      waiting.shift()!(live)
      await new Promise(setImmediate)
    }
  }
}

t.test('key names: a name goes once the backend confirms it', async (t) => {
  const { names, told, answer } = start()
  for (const key of ['a', 'b', 'c']) names.add(key)
  void names.deleted('a')
  void names.deleted('b')
  void names.deleted('c')
  void names.deleted('unknown')
  t.equal(names.has('a'), true)
  await answer([])
  await answer(['b'])
  await answer(new Error('away'))
  t.strictSame([...names], ['b', 'c'])
  t.strictSame(told, [['b', true]], 'what is there all the same is told to those who have asked too early')
})

t.test('key names: where it cannot be asked about some, all are asked about, once', async (t) => {
  const { names, unsure, answer } = start()
  for (const key of ['a', 'b', 'c']) names.add(key)
  void names.deleted('a')
  void names.deleted('b')
  await answer(new Error('too many calls'))
  await answer(new Error('too many calls'))
  t.equal(unsure.count, 1)
  const asked = names.reload()
  await answer(['c'])
  await asked
  t.strictSame([...names], ['c'])
  void names.deleted('c')
  await answer(new Error('again'))
  t.equal(unsure.count, 2)
})

t.test('key names: one that is made again meanwhile stays, and the others hear of it', async (t) => {
  const { names, told, answer } = start()
  for (const key of ['a', 'b', 'c']) names.add(key)
  void names.deleted('a')
  names.add('a')
  await answer([])
  void names.deleted('b')
  names.changed('b', true)
  await answer([])
  t.strictSame(told, [])
  await answer(['b'])
  t.strictSame(told, [['b', true]])
  void names.deleted('c')
  names.add('c')
  void names.deleted('c')
  await answer(['c'])
  t.strictSame(told, [['b', true]], 'the answer to the first question is out of date')
  await answer([])
  t.strictSame([...names], ['a', 'b'])
})

t.test('key names: what this node sees itself', async (t) => {
  const { names, told } = start()
  names.changed('a', true)
  names.changed('a', true)
  names.changed('a', false)
  names.changed('a', false)
  names.changed('a', true)
  t.strictSame(told, [['a', true], ['a', false], ['a', true]])
})

t.test('key names: all are asked about again after messages were lost', async (t) => {
  const { names, told, answer } = start()
  for (const key of ['a', 'gone', 'held', 'made', 'moved']) names.add(key)
  const reloaded = names.reload()
  names.add('made')
  names.changed('moved', true)
  names.add('new')
  await answer(['a', 'b'])
  await reloaded
  t.strictSame([...names].sort(), ['a', 'b', 'held', 'made', 'moved', 'new'])
  const failed = t.rejects(names.reload())
  await answer(new Error('away'))
  await failed
  const again = names.reload()
  await answer(['a'])
  await again
  t.strictSame([...names], ['a', 'held'])
  t.strictSame(told, [])
})

t.test('keys that were deleted on one node make room on the others', async (t) => {
  const [one, two] = await cluster(t, 2, { rateLimit: false, maxCrdtKeys: 3 })
  const [ann, bob] = [await one!.connect(), await two!.connect()]
  const make = async (wire: typeof ann, key: string): Promise<number> => {
    const op = { type: 'pn-counter', nodeId: 'n', timestamp: Date.now(), op: 'increment', seq: 1 }
    return (await wire.ask(Opcode.CRDT_OP, { key, op })).opcode
  }
  for (let i = 0; i < 5; i++) {
    t.equal(await make(ann, `k${i}`), Opcode.CRDT_ACK)
    t.equal(await one!.ds.primitives.crdt.delete(`k${i}`), true)
  }
  for (let i = 0; i < 3; i++) await until(async () => await make(bob, `fresh ${i}`) === Opcode.CRDT_ACK)
  t.equal(await make(bob, 'one more'), Opcode.ERROR)
})

t.test('a live key that was deleted on one node is read no more on another', async (t) => {
  const backend = new MemoryBackend()
  const read: string[] = []
  const before = backend.read.bind(backend)
  backend.read = async (key, position) => {
    read.push(key)
    return await before(key, position)
  }
  const [one, two] = await cluster(t, 2, { stateBackend: backend })
  const { live } = one!.ds.primitives
  for (let i = 0; i < 20; i++) {
    await live.setState(`room ${i}`, 1)
    await live.deleteState(`room ${i}`)
  }
  await live.setState('last', 1)
  await until(async () => {
    read.length = 0
    const client = await two!.connectV1()
    await client.until(({ state }) => state.get('last') === 1)
    client.wire.socket.terminate()
    return read.every((key) => !key.includes('room'))
  })
  t.pass()
})

t.test('keys that two nodes delete and make again at once end up known to all', async (t) => {
  const nodes = await cluster(t, 3, { stateBackend: new MemoryBackend() })
  const keys = Array.from({ length: 10 }, (_, i) => `k${i}`)
  await Promise.all(nodes.slice(0, 2).flatMap(({ ds: { primitives: { live } } }) => keys.map(async (key) => {
    for (let i = 0; i < 20; i++) {
      await live.setState(key, i)
      await live.deleteState(key)
    }
    await live.setState(key, 'end')
  })))
  for (const { connectV1 } of nodes) {
    const client = await connectV1()
    await client.until(({ state }) => keys.every((key) => state.get(key) === 'end'))
  }
  t.pass()
})

t.test('keys that came and went hold nothing, also where a client of version 1 mirrors all that is live', { timeout: 60_000 }, async (t) => {
  const backend = new ShakyBackend()
  const { ds, connectV1 } = await node(t, { stateBackend: backend })
  const { live } = ds.primitives
  const client = await connectV1()
  const idle = backend.open.size
  await live.setState('last', 0)
  for (let i = 0; i < 50; i++) {
    await live.setState(`k${i}`, i)
    await client.until(({ state }) => state.get(`k${i}`) === i)
    await live.deleteState(`k${i}`)
  }
  await until(() => backend.open.size <= idle + 1)
  await live.setState('k0', 'again')
  await client.until(({ state }) => state.get('k0') === 'again')
  await live.setState('k0', 'and more')
  await client.until(({ state }) => state.get('k0') === 'and more')
  t.strictSame(client.complaints, [])
})
