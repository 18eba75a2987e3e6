import { resolve } from 'node:path'
import t, { type Test } from 'tap'
import type * as Y from 'yjs'
import { DatasoleClient } from '../../lib/client/client.js'
import { WebSocket } from 'ws'
import { program, serve, sourcesOf } from '../helpers/doc-pages.js'
import { node } from '../helpers/nodes.js'
import { writeSnippets } from '../helpers/snippets.js'
import { until } from '../helpers/until.js'

t.setTimeout(480_000) // it starts many programs

const page = (name: string): string => `docs/from/${name}.md`
const after = (t: Test, name: string): string => writeSnippets(t, `run-from-${name}`, sourcesOf(page(name)))
const before = (t: Test, name: string): string => writeSnippets(t, `run-from-${name}-before`, sourcesOf(page(name), '-'))

for (const [version, folderOf] of [['before', before], ['after', after]] as const) {
  t.test(`from: the chat of socket-io.md, ${version}`, async (t) => {
    const folder = folderOf(t, 'socket-io')
    // two processes: what is said in one is heard in the other, by Redis
    const env = { REDIS_URL: process.env.REDIS_URL! }
    const [one, two] = [await serve(t, folder, 'server.js', env), await serve(t, folder, 'server.js', env)]
    const ann = program(t, folder, 'client.js', { URL: `http://127.0.0.1:${one.port}`, TOKEN: 'token-of-ann' })
    await ann.line(/1 in hall[^]*ann: hello/)
    const bob = program(t, folder, 'client.js', { URL: `http://127.0.0.1:${two.port}`, TOKEN: 'token-of-bob' })
    await bob.line(/[12] in hall[^]*bob: hello/) // on a busy machine the other process may not count within its second
    await ann.line(/bob joined\n[^]*bob: hello/)
    t.notMatch(bob.output(), /bob joined/, 'the others are told')
    await bob.stop()
    await ann.line(/bob left/)
    const stranger = program(t, folder, 'client.js', { URL: `http://127.0.0.1:${one.port}`, TOKEN: 'none' })
    await ann.stop()
    t.notMatch(stranger.output(), /in hall/)
  })

  t.test(`from: the dashboard of ws.md, ${version}`, async (t) => {
    const folder = folderOf(t, 'ws')
    const { port } = await serve(t, folder)
    const client = program(t, folder, 'client.js', { URL: `http://127.0.0.1:${port}` })
    await client.line(/1 visitors, 1 resets/)
    await client.line(/done/)
    const other = program(t, folder, 'client.js', { URL: `http://127.0.0.1:${port}` })
    await client.line(/2 visitors, 2 resets/)
    await other.stop()
    await client.line(/2 visitors, 2 resets[^]*1 visitors, 2 resets/)
  })

  t.test(`from: the server of datasole-1.md, ${version}`, async (t) => {
    const { port, stop } = await serve(t, folderOf(t, 'datasole-1'))
    const client = new DatasoleClient<{ rpc: { add: { params: object, result: number } }, state: { dashboard: { visitors: number } } }>({ url: `http://127.0.0.1:${port}`, webSocket: WebSocket as never, onError: () => {} })
    t.teardown(async () => { await client.disconnect() })
    await client.connect()
    t.equal(await client.rpc('add', { a: 1, b: 2 }), 3)
    let visitors = 0
    client.subscribeState('dashboard', (value) => { visitors = value?.visitors ?? 0 })
    await until(() => visitors > 0)
    t.equal(await stop(), 0)
  })
}

t.test('from: the number of members of socket-io.md follows connections', async (t) => {
  const { countMembers } = await import(resolve(after(t, 'socket-io'), 'members.js')) as { countMembers: (ds: unknown, room: string) => () => void }
  const { ds, connect } = await node(t)
  ds.addHook('onConnect', ({ tags }: { tags: Set<string> }) => { tags.add('hall') })
  t.teardown(countMembers(ds, 'hall'))
  const wire = await connect()
  await until(async () => (await ds.primitives.live.getState('members') as { count: number } | undefined)?.count === 1)
  await wire.close()
  await until(async () => (await ds.primitives.live.getState('members') as { count: number } | undefined)?.count === 0)
  t.pass('as it should')
})

t.test('from: a client of socket-io.md answers', async (t) => {
  const folder = after(t, 'socket-io')
  const { asker } = await import(resolve(folder, 'ask.js')) as { asker: (ds: unknown) => (id: string, text: string, timeoutMs?: number) => Promise<string> }
  const { answer } = await import(resolve(folder, 'answer.js')) as { answer: (client: unknown, answerOf: (text: string) => string) => () => void }
  const { ds, url } = await node(t)
  const ask = asker(ds)
  const client = new DatasoleClient({ url: url.replace('ws', 'http'), webSocket: WebSocket as never })
  t.teardown(async () => { await client.disconnect() })
  await client.connect()
  const off = answer(client, (text) => `${text} yes`)
  t.equal(await ask(client.connectionId!, 'tea?'), 'tea? yes')
  off()
  await t.rejects(ask(client.connectionId!, 'coffee?', 50), { message: 'no answer' })
})

t.test('from: the arena of colyseus.md', async (t) => {
  const { arena } = await import(resolve(after(t, 'colyseus'), 'room.js')) as { arena: (ds: unknown) => void }
  const { ds, url } = await node(t)
  arena(ds)
  const client = new DatasoleClient({ url: url.replace('ws', 'http'), webSocket: WebSocket as never })
  await client.connect()
  await t.rejects(client.rpc('move', { x: 1, y: 2 }), { message: 'join first' })
  await client.rpc('join', { room: '7' })
  await client.rpc('move', { x: 1, y: 2 })
  t.strictSame(Object.values((await ds.primitives.live.getState('arena:7') as { players: object }).players), [{ x: 1, y: 2 }])
  await client.disconnect()
  await until(async () => Object.keys((await ds.primitives.live.getState('arena:7') as { players: object }).players).length === 0)
})

t.test('from: the posts of trpc.md', async (t) => {
  const folder = after(t, 'trpc')
  const { port } = await serve(t, folder)
  const client = program(t, folder, 'client.js', { URL: `http://127.0.0.1:${port}` })
  await client.line(/hello/)
})

t.test('from: the editor of yjs-hocuspocus.md, with two of them', async (t) => {
  const folder = after(t, 'yjs-hocuspocus')
  const { port } = await serve(t, folder)
  const { open } = await import(resolve(folder, 'editor.js')) as { open: (url: string, token: string) => Promise<{ doc: Y.Doc, awareness: { getStates: () => Map<number, unknown> }, close: () => Promise<void> }> }
  const ann = await open(`http://127.0.0.1:${port}`, 'token-of-ann')
  const bob = await open(`http://127.0.0.1:${port}`, 'token-of-bob')
  ann.doc.getText('text').insert(0, 'hello')
  await until(() => bob.doc.getText('text').toString() === 'hello')
  await until(() => bob.awareness.getStates().size === 2)
  await ann.close()
  await until(() => bob.awareness.getStates().size === 1)
  await bob.close()
  t.pass('text and names arrive')
})
