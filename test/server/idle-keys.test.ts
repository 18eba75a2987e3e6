import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import fc from 'fast-check'
import t from 'tap'
import { MemoryBackend } from '../../lib/backend/memory/memory.js'
import { Metrics } from '../../lib/server/metrics/metrics.js'
import { IdleKeys } from '../../lib/server/store/idle-keys.js'
import { StateStore } from '../../lib/server/store/state-store.js'

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

/** Bytes that are really in use. */
function heap (): number {
  collect()
  return process.memoryUsage().heapUsed
}

t.test('idle keys: the least recently used ones go first', async () => {
  fc.assert(fc.property(fc.integer({ min: 0, max: 4 }), fc.array(fc.record({ key: fc.constantFrom(...'abcdefgh'), isUsed: fc.boolean() }), { maxLength: 60 }), (max, steps) => {
    const evicted: string[] = []
    const expected: string[] = []
    let kept: string[] = []
    const idle = new IdleKeys((key) => { evicted.push(key) }, max)
    for (const { key, isUsed } of steps) {
      kept = kept.filter((each) => each !== key)
      if (isUsed) {
        idle.remove(key)
        continue
      }
      idle.add(key, 1)
      kept.push(key)
      while (kept.length > max) expected.push(kept.shift()!)
    }
    if (evicted.join() !== expected.join()) throw new Error(`${evicted.join()} went, not ${expected.join()}`)
  }))
})

t.test('idle keys: by bytes, too', async (t) => {
  const evicted: string[] = []
  const idle = new IdleKeys((key) => { evicted.push(key) })
  const MiB = 1024 * 1024
  for (const [key, size] of [['a', 30], ['b', 30], ['a', 31], ['c', 5]] as const) idle.add(key, size * MiB)
  t.strictSame(evicted, ['b'])
})

t.test('idle keys: a few keys that are used over and over do not fill the memory', async (t) => {
  const idle = new IdleKeys(() => {})
  const use = (times: number): void => { for (let i = 0; i < times; i++) idle.add(`key-${i % 10}`, 1) }
  use(10_000)
  const before = heap()
  use(500_000)
  const grown = heap() - before
  t.ok(grown < 1_000_000, `${grown} bytes`)
})

t.test('idle keys: keys in use take no room, and are idle once nobody needs them', async (t) => {
  const needed = new Set(['x', 'y', 'z'])
  const store = storeOf(t, 1, needed)
  await store.set('idle', 1, false)
  for (const key of needed) await store.set(key, 1, false)
  t.ok(store.held('idle'))
  needed.delete('y')
  store.idle('y')
  t.notOk(store.held('idle'))
  t.ok(store.held('y'))
})

t.test('idle keys: a key that is needed again leaves its room to others', async (t) => {
  const needed = new Set<string>()
  const store = storeOf(t, 2, needed)
  for (const key of ['a', 'b']) await store.set(key, 1, false)
  needed.add('b')
  await store.set('b', 2, false)
  await store.set('c', 1, false)
  t.ok(store.held('a'))
})

function storeOf (t: { teardown (fn: () => void): void }, maxIdle: number, needed: ReadonlySet<string>): StateStore {
  const backend = new MemoryBackend()
  const store = new StateStore(backend, backend, { onCommit () {}, isNeeded: (key) => needed.has(key) },
    { prefix: 'state:', ready: () => undefined, maxIdle, maxStateBytes: 1000, maxJsonDepth: 10 }, new Metrics(() => 0, () => []), { error () {} } as never)
  t.teardown(() => { store.close() })
  return store
}
