import t from 'tap'
import type { StateBackend } from '../../lib/backend/backend.js'
import { SnapshotJournal } from '../../lib/server/store/snapshot-journal.js'
import { FiveMethods } from '../helpers/backends.js'
import { type FullBackend, contract } from './contract.js'
import { Deletions } from './deletions.js'

/** As the server combines them. */
function combined (backend: StateBackend): FullBackend {
  const journal = new SnapshotJournal(backend)
  return Object.assign(Object.create(backend) as StateBackend, {
    get: backend.get.bind(backend),
    set: backend.set.bind(backend),
    delete: backend.delete.bind(backend),
    subscribe: backend.subscribe.bind(backend),
    publish: backend.publish.bind(backend),
    commit: journal.commit.bind(journal),
    read: journal.read.bind(journal),
    liveKeys: journal.liveKeys.bind(journal)
  })
}

async function twice (): Promise<[FullBackend, FullBackend]> {
  const backend = combined(new FiveMethods())
  return [backend, backend]
}

contract(t as never, twice, { hasLog: false, makeForgetful: twice })

t.test('snapshot journal: another process finds what was committed', async (t) => {
  const store = new FiveMethods()
  const first = combined(store)
  const { epoch } = await first.read('k')
  await first.commit('k', { base: { epoch, version: 0, id: '' }, commits: [{ id: '1', patches: '[{"op":"replace","path":"","value":{"a":1}}]' }], live: true })
  const second = combined(store)
  t.match(await second.read('k'), { epoch, version: 1, live: true, snapshot: { version: 1, value: '{"a":1}' } })
  t.strictSame(await second.liveKeys(), ['k'])
})

t.test('snapshot journal: keys that become live at once are all listed', async (t) => {
  const backend = combined(new FiveMethods())
  const { epoch } = await backend.read('any')
  const keys = Array.from({ length: 20 }, (_, i) => `key ${i}`)
  await Promise.all(keys.map((key) => backend.commit(key, { base: { epoch, version: 0, id: '' }, commits: [{ id: key, patches: '[{"op":"replace","path":"","value":1}]' }], live: true })))
  t.strictSame((await backend.liveKeys()).sort(), keys.sort())
})

t.test('snapshot journal: a set that fails commits nothing, and the next one goes through', async (t) => {
  const store = new FiveMethods()
  const backend = combined(store)
  const { epoch } = await backend.read('k')
  const request = { base: { epoch, version: 0, id: '' }, commits: [{ id: '1', patches: '[{"op":"replace","path":"","value":1}]' }] }
  const { set } = store
  store.set = async () => { throw new Error('disk full') }
  await t.rejects(backend.commit('k', request), { message: 'disk full' })
  store.set = set
  t.match(await backend.read('k'), { version: 0 })
  t.match(await backend.commit('k', request), { accepted: true, version: 1 })
})

t.test('snapshot journal: nothing stays in the store of keys that came and went', async (t) => {
  const store = new FiveMethods()
  const backend = combined(store)
  const deletions = new Deletions(t as never, backend, backend, { forgets: true, hasLog: false })
  for (let i = 0; i < 20; i++) await deletions.delete(`k${i}`, await deletions.create(`k${i}`))
  t.strictSame([...store.values], [['live-keys', '[]']])
})
