import t from 'tap'
import { MAX_DELETED, MemoryBackend } from '../../lib/backend/memory/memory.js'
import { contract } from './contract.js'
import { Deletions } from './deletions.js'
import { until } from '../helpers/until.js'

contract(t as never, async () => {
  const backend = new MemoryBackend()
  return [backend, backend]
}, {
  makeForgetful: async () => {
    const backend = new MemoryBackend()
    return [backend, backend]
  }
})

const idOf = (version: number): string => version === 0 ? '' : String(version)

t.test('memory: it holds at most what it needs', async (t) => {
  const backend = new MemoryBackend()
  const { epoch } = await backend.read('k')
  for (let n = 1; n <= 5000; n++) {
    const snapshot = n % 1000 === 0 ? { version: n - 1, value: String(n - 1) } : undefined
    await backend.commit('k', { base: { epoch, version: n - 1, id: idOf(n - 1) }, commits: [{ id: String(n), patches: `[{"op":"replace","path":"","value":${n}}]` }], snapshot })
  }
  const held = async (version: number): Promise<boolean> => (await backend.read('k', { epoch, version, id: idOf(version) })).snapshot === undefined
  t.equal(await held(4000), true)
  t.equal(await held(3999), false, 'no more than 1,000 commits')
  const pad = 'x'.repeat(10_000)
  const big = (await backend.read('big')).epoch
  for (let n = 1; n <= 100; n++) {
    await backend.commit('big', { base: { epoch: big, version: n - 1, id: idOf(n - 1) }, commits: [{ id: String(n), patches: `[{"op":"replace","path":"","value":"${pad}"}]` }], snapshot: { version: n, value: `"${pad}"` } })
  }
  t.equal((await backend.read('big', { epoch: big, version: 94, id: '94' })).commits.length, 6, '64 KiB are kept')
  t.ok((await backend.read('big', { epoch: big, version: 90, id: '90' })).snapshot, 'and hardly more')
})

t.test('memory: two of them are two histories', async (t) => {
  t.not((await new MemoryBackend().read('k')).epoch, (await new MemoryBackend().read('k')).epoch)
})

t.test('memory: what is not JSON is refused', async (t) => {
  const backend = new MemoryBackend()
  await t.rejects(backend.set('k', undefined), TypeError)
  await t.rejects(backend.set('k', 1n), TypeError)
  t.equal(await backend.get('k'), undefined)
})

t.test('memory: keys that came and went leave nothing behind', async (t) => {
  const backend = new MemoryBackend()
  const deletions = new Deletions(t as never, backend, backend, { forgets: true, hasLog: true })
  for (let i = 0; i < 120_000; i++) await deletions.delete(`k${i}`, await deletions.create(`k${i}`))
  t.ok(backend.size <= MAX_DELETED, `${backend.size} keys are held`)
  const quick = new MemoryBackend(1)
  const few = new Deletions(t as never, quick, quick, { forgets: true, hasLog: true })
  await few.delete('k', await few.create('k'))
  await until(() => quick.size <= 0)
})
