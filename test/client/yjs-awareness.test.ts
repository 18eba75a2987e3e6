import { createRequire } from 'node:module'
import t from 'tap'
import { Awareness } from 'y-protocols/awareness'
import * as Y from 'yjs'
import { bindAwareness } from '../../lib/client/yjs-awareness.js'
import { node } from '../helpers/nodes.js'
import { watch } from './dialled.js'
import { until } from '../helpers/until.js'

t.test('yjs awareness: names and cursors are shared, and gone with who had them', async (t) => {
  const { url, ds } = await node(t, { rateLimit: false })
  const { events, fanout } = ds.primitives
  events.on('text:awareness', ({ data }) => { fanout.broadcast('text:awareness', data) })

  const person = (name: string) => {
    const { client, errors } = watch(t, { url })
    const awareness = new Awareness(new Y.Doc())
    t.teardown(() => { awareness.destroy() })
    awareness.setLocalStateField('name', name)
    const refused: unknown[] = []
    const leave = bindAwareness(client, 'text', awareness, { onError: ({ code }) => { refused.push(code) } })
    const names = (): string => Array.from(awareness.getStates().values(), ({ name }) => String(name)).sort().join(' ')
    const sees = (expected: string): Promise<void> => new Promise((resolve) => {
      const look = (): void => { if (names() === expected) resolve() }
      awareness.on('change', look)
      look()
    })
    return { client, awareness, leave, sees, names, errors, refused }
  }
  const [ann, bob, eve] = [person('ann'), person('bob'), person('eve')]
  await Promise.all([ann.client.connect(), bob.client.connect()])
  await Promise.all([ann.sees('ann bob'), bob.sees('ann bob')])
  await eve.client.connect()
  await Promise.all([eve.sees('ann bob eve'), ann.sees('ann bob eve')]) // who is new asks, and does not wait 15 s

  bob.awareness.setLocalStateField('name', 'robert')
  await Promise.all([ann.sees('ann eve robert'), eve.sees('ann eve robert')])

  // what is no update, or too large, changes nothing
  for (const data of [null, 5, {}, { update: 7 }, { update: '!' }, { update: 'x'.repeat(20_000) }, { update: '/////w==' }]) fanout.broadcast('text:awareness', data)
  eve.awareness.setLocalStateField('picture', 'x'.repeat(20_000))
  eve.awareness.setLocalStateField('name', 'too large')
  await until(() => eve.refused.length !== 0)
  t.strictSame(eve.refused, ['LIMIT_EXCEEDED'])
  await until(() => ann.errors.length === 2) // what cannot be decoded is told
  t.equal(ann.names(), 'ann eve robert')
  eve.awareness.setLocalState({ name: 'eve' })

  // who has lost the connection sees nobody, and everybody again
  const alone = bob.sees('robert')
  await ds.disconnectUser('127.0.0.1', { code: 1001 })
  await alone
  await Promise.all([ann, bob, eve].map(({ sees }) => sees('ann eve robert')))

  bob.leave()
  await Promise.all([ann.sees('ann eve'), eve.sees('ann eve')])
  t.equal(bob.names(), '')
})

t.test('yjs awareness: an Awareness of another copy of y-protocols works', async (t) => {
  const { url, ds: { primitives: { events, fanout } } } = await node(t, { rateLimit: false })
  events.on('text:awareness', ({ data }) => { fanout.broadcast('text:awareness', data) })
  const require = createRequire(import.meta.url)
  const other = require('y-protocols/awareness') as { Awareness: typeof Awareness } // its CommonJS build, with that of Yjs
  t.not(other.Awareness, Awareness)
  const pair = await Promise.all([Awareness, other.Awareness].map(async (Class, i) => {
    const { client, errors } = watch(t, { url })
    const awareness = new Class(new ([Y, require('yjs') as typeof Y][i]!).Doc())
    t.teardown(() => { awareness.destroy() })
    awareness.setLocalStateField('name', i)
    const leave = bindAwareness(client, 'text', awareness)
    await client.connect()
    return { awareness, leave, errors }
  }))
  const names = (i: number): string => Array.from(pair[i]!.awareness.getStates().values(), ({ name }) => String(name)).sort().join(' ')
  await until(() => names(0) === '0 1' && names(1) === '0 1')
  pair[1]!.leave.unsubscribe()
  pair[1]!.leave()
  await until(() => names(0) === '0')
  t.strictSame(pair.flatMap(({ errors }) => errors), [])
})

t.test('yjs awareness: anything else is refused', async (t) => {
  const { client } = watch(t, { url: 'http://127.0.0.1:1' })
  for (const awareness of [undefined, {}, new Y.Doc()]) t.throws(() => bindAwareness(client, 'text', awareness as never), { name: 'TypeError', code: 'INVALID_ARGUMENT' })
})
