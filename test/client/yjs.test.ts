import { createRequire } from 'node:module'
import { setTimeout } from 'node:timers/promises'
import t from 'tap'
import * as Y from 'yjs'
import { bindYjs } from '../../lib/client/yjs.js'
import { Opcode } from '../../lib/protocol/opcodes.js'
import { isUpdate, join, loadYjs } from '../../lib/server/crdts/crdt-yjs.js'
import { cluster, node } from '../helpers/nodes.js'
import { proxy } from '../helpers/proxy.js'
import { randomOf, seed } from '../helpers/random.js'
import { watch } from './dialled.js'
import { until } from '../helpers/until.js'

t.comment(`seed ${seed} (SEED=${seed} repeats this run)`)

t.test('yjs: clients edit one text, at once and offline, on two nodes', async (t) => {
  const random = randomOf(seed)
  const nodes = await cluster(t, 2, { rateLimit: false })
  const editors = await Promise.all([0, 1, 2].map(async (i) => {
    const { port } = new URL(nodes[i % 2]!.url)
    const way = await proxy(t, Number(port))
    const { client, errors } = watch(t, { url: `http://127.0.0.1:${way.port}` })
    const doc = new Y.Doc()
    const binding = bindYjs(client, 'text', doc)
    if (i > 0) await client.connect()
    return { way, client, errors, doc, binding, text: doc.getText('t') }
  }))
  for (let step = 0; step < 400; step++) {
    const { text, way } = editors[random(3)]!
    if (text.length > 0 && random(3) === 0) text.delete(random(text.length), 1)
    else text.insert(random(text.length + 1), String.fromCharCode(97 + random(26)))
    if (random(40) === 0) way.cut()
    if (random(4) === 0) await setTimeout(random(3))
  }
  await editors[0]!.client.connect()
  await Promise.all(editors.map(({ binding }) => binding.synced))
  const [a, b, c] = editors.map(({ text }) => text) as [Y.Text, Y.Text, Y.Text]
  const isSettled = (): boolean => editors.every(({ client }) => !client.crdt('text', 'yjs').isPending)
  await until(() => isSettled() && a.toString() === b.toString() && b.toString() === c.toString())
  t.ok(a.length > 0)
  const late = watch(t, { url: nodes[0]!.url })
  const doc = new Y.Doc()
  const { synced, destroy } = bindYjs(late.client, 'text', doc)
  await late.client.connect()
  await synced
  t.equal(doc.getText('t').toString(), a.toString(), 'who comes late has it all')
  const updates = await nodes[0]!.ds.primitives.crdt.getValue('text') as string[]
  t.ok(updates.length <= 101, `the server keeps ${updates.length} updates`)
  destroy()
  t.strictSame([...late.errors, ...editors.flatMap(({ errors }) => errors)], [])
})

t.test('a document of another copy of Yjs is refused', async (t) => {
  const { client } = watch(t, { url: 'http://127.0.0.1:1' })
  const other = createRequire(import.meta.url)('yjs') as typeof Y // its CommonJS build
  t.throws(() => bindYjs(client, 'text', new other.Doc()), { name: 'DatasoleError', code: 'FOREIGN_YJS', message: /npm dedupe/ })
  for (const doc of [undefined, null, {}, new Y.Map()]) t.throws(() => bindYjs(client, 'text', doc as never), { name: 'TypeError', code: 'INVALID_ARGUMENT' })
  class OwnDoc extends Y.Doc {}
  bindYjs(client, 'text', new OwnDoc()).destroy()
})

t.test('yjs: what is no update is refused', async (t) => {
  const { connect, ds } = await node(t, { rateLimit: false })
  const ann = await connect()
  const push = async (value: unknown): Promise<string | number> => {
    const { opcode, payload } = await ann.ask(Opcode.CRDT_OP, { key: 'text', op: { type: 'yjs', nodeId: 'n', timestamp: 1, op: 'update', value } })
    return payload.code ?? opcode
  }
  for (const value of [undefined, 5, '', 'not base64!', '/////w==', 'AQEB']) t.equal(await push(value), 'INVALID_PATCH', String(value).slice(0, 20))
  t.equal(await ds.primitives.crdt.getValue('text'), undefined)
  const doc = new Y.Doc()
  doc.getText('t').insert(0, 'x')
  t.equal(await push(Buffer.from(Y.encodeStateAsUpdate(doc)).toString('base64')), Opcode.CRDT_ACK)
})

t.test('yjs: what does not fit beside what waits already is sent later', async (t) => {
  const { url, ds } = await node(t, { rateLimit: false })
  const { client, errors } = watch(t, { url })
  const full = client.crdt('full', 'lww-map')
  for (let i = 0; i < 1000; i++) full.set(String(i), i)
  const doc = new Y.Doc()
  const { destroy } = bindYjs(client, 'text', doc)
  doc.getText('t').insert(0, 'kept')
  await setTimeout(1)
  doc.getText('t').insert(0, 'is ')
  destroy()
  await client.connect()
  await until(() => !full.isPending)
  const text = async (): Promise<string> => {
    const stored = new Y.Doc()
    for (const update of await ds.primitives.crdt.getValue('text') as string[] | undefined ?? []) Y.applyUpdate(stored, Buffer.from(update, 'base64'))
    return stored.getText('t').toString()
  }
  await until(async () => await text() === 'is kept')
  t.strictSame(errors, [])
})

t.test('yjs: one that the page fails at does not stop the others', async (t) => {
  const { url, ds } = await node(t, { rateLimit: false })
  const written = new Y.Doc()
  const updates: Uint8Array[] = []
  written.on('update', (update) => { updates.push(update) })
  for (const letter of 'abc') written.getText('t').insert(0, letter)
  for (const update of updates) await ds.primitives.crdt.apply('text', { type: 'yjs', op: 'update', value: Buffer.from(update).toString('base64') })
  const { client, errors } = watch(t, { url })
  const doc = new Y.Doc()
  doc.getText('t').observe(() => { if (doc.getText('t').length === 1) throw new Error('the page fails') })
  const { synced } = bindYjs(client, 'text', doc)
  await client.connect()
  await synced
  t.equal(doc.getText('t').toString(), 'cba')
  t.match(errors, [{ message: 'the page fails' }])
})

t.test('yjs: a few bytes that say they are 33 million structs take no memory', async (t) => {
  await loadYjs()
  const before = process.memoryUsage().heapUsed
  // of one client, 33,000,000 structs, of which the first is not there
  t.equal(isUpdate(Buffer.from([1, 0xc0, 0x94, 0xde, 0x0f, 5, 0, 0, 3]).toString('base64')), false)
  const taken = process.memoryUsage().heapUsed - before
  t.ok(taken < 50_000_000, `${taken} bytes`)
})

/** A text of one struct, and n more that each look through all those before: the work is n². */
function slow (n: number): string {
  const bytes: number[] = []
  const write = (...numbers: number[]): void => {
    for (let number of numbers) {
      for (; number > 127; number >>>= 7) bytes.push(128 | (number & 127))
      bytes.push(number)
    }
  }
  write(2, n, 2, 0)
  for (let i = 0; i < n; i++) write(0x44, 1, n - i, 1, 121)
  write(1, 1, 0, 4, 1, 1, 116, n + 5)
  for (let i = 0; i < n + 5; i++) bytes.push(120)
  write(0)
  return Buffer.from(bytes).toString('base64')
}

t.test('yjs: an update that would keep the server computing is taken, and joined, without that', async (t) => {
  await loadYjs()
  const update = slow(100_000)
  const doc = new Y.Doc()
  const others: string[] = []
  doc.on('update', (update) => { others.push(Buffer.from(update).toString('base64')) })
  for (let i = 0; i < 99; i++) doc.getText('t').insert(i, 'z')
  const state = { type: 'yjs' as const, updates: [update, ...others] }
  t.equal(isUpdate(update), true)
  join(state) // one after the other they would take minutes
  t.equal(state.updates.length, 1)
  const small = { type: 'yjs' as const, updates: [slow(10), ...others] }
  join(small)
  const read = new Y.Doc()
  Y.applyUpdate(read, Buffer.from(small.updates[0]!, 'base64'))
  t.equal(read.getText('t').length, 99 + 10 + 15)
})
