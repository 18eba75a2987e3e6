import { once } from 'node:events'
import { type IncomingMessage, get } from 'node:http'
import type { AddressInfo } from 'node:net'
import { resolve } from 'node:path'
import t, { type Test } from 'tap'
import { createServer as createVite } from 'vite'
import { WebSocket } from 'ws'
import { DatasoleClient } from '../../lib/client/client.js'
import { serve, sourcesOf } from '../helpers/doc-pages.js'
import { writeSnippets } from '../helpers/snippets.js'

interface AppContract { rpc: { add: { params: { a: number, b: number }, result: number } } }

t.setTimeout(480_000) // it starts many programs

const folderOf = (t: Test, name: string): string => writeSnippets(t, `run-beside-${name}`, sourcesOf(`docs/beside/${name}.md`))

async function text (port: number, path: string): Promise<string> {
  const [response] = await once(get({ port, host: '127.0.0.1', path, agent: false }), 'response') as [IncomingMessage]
  let body = ''
  for await (const chunk of response) body += String(chunk)
  return body
}

async function connected (t: Test, port: number): Promise<DatasoleClient<AppContract>> {
  const client = new DatasoleClient<AppContract>({ url: `http://127.0.0.1:${port}`, webSocket: WebSocket as never })
  t.teardown(async () => { await client.disconnect() })
  await client.connect()
  return client
}

for (const [name, file, code] of [['express', 'server.js', 0], ['koa', 'server.js', 0], ['hono', 'server.js', 0], ['nestjs', 'main.js', null]] as const) {
  t.test(`beside: the server of ${name}.md serves http and our client, and ends in good order`, async (t) => {
    const { port, stop } = await serve(t, folderOf(t, name), file)
    t.equal(await text(port, '/sum'), '3')
    t.match(await text(port, '/__ds/datasole.iife.min.js'), /DatasoleClient/)
    const client = await connected(t, port)
    t.equal(await client.rpc('add', { a: 1, b: 2 }), 3)
    const lost = new Promise<void>((resolve) => { client.onConnectionState((state) => { if (state !== 'connected') resolve() }) })
    t.equal(await stop(), code, 'NestJS ends by the signal itself, when its hooks have run')
    await lost
  })
}

t.test('beside: the pair of bun-deno.md works on Node.js', async (t) => {
  const folder = folderOf(t, 'bun-deno')
  const { port } = await serve(t, folder)
  const client = await connected(t, port)
  t.equal(await client.rpc('add', { a: 1, b: 2 }), 3)
})

t.test('beside: the configuration of vite.md passes the page to the server', async (t) => {
  const folder = folderOf(t, 'vite')
  const { port } = await serve(t, folderOf(t, 'koa'))
  process.env.API_PORT = String(port)
  const vite = await createVite({ root: resolve(folder), configFile: resolve(folder, 'vite.config.ts'), logLevel: 'error', server: { port: 0, host: '127.0.0.1' } })
  t.teardown(async () => { await vite.close() })
  await vite.listen()
  const front = (vite.httpServer!.address() as AddressInfo).port
  const client = await connected(t, front)
  t.equal(await client.rpc('add', { a: 1, b: 2 }), 3)
  t.match(await text(front, '/__ds/datasole-worker.iife.min.js'), /\w/)
  // a page that was opened by the machine's address in the network: the request names it as its host too
  const page = new WebSocket(`ws://127.0.0.1:${front}/__ds`, { headers: { host: `192.168.1.5:${front}`, origin: `http://192.168.1.5:${front}` } })
  await once(page, 'open')
  page.terminate()
})

t.test('beside: the page of vite.md needs no changeOrigin, which would be refused', async (t) => {
  const { port } = await serve(t, folderOf(t, 'koa'))
  const vite = await createVite({ configFile: false, logLevel: 'silent', server: { port: 0, host: '127.0.0.1', proxy: { '/__ds': { target: `http://localhost:${port}`, ws: true, changeOrigin: true } } } })
  t.teardown(async () => { await vite.close() })
  await vite.listen()
  const front = (vite.httpServer!.address() as AddressInfo).port
  const page = new WebSocket(`ws://127.0.0.1:${front}/__ds`, { headers: { host: `192.168.1.5:${front}`, origin: `http://192.168.1.5:${front}` } })
  const [error] = await once(page, 'error') as [Error]
  t.match(error.message, /403/)
})

t.test('beside: the application, client and waiting of vitest-jest.md work', async (t) => {
  const folder = folderOf(t, 'vitest-jest')
  const [{ build }, { clientOf }, { nextState }] = await Promise.all(['app', 'client-of', 'next-state'].map(async (name) => await import(resolve(folder, `${name}.js`))))
  const app = await build()
  t.teardown(async () => { await app.close() })
  await app.ready()
  const client = clientOf(app)
  await client.connect()
  t.equal(await client.rpc('ping'), 'pong')
  await app.ds.primitives.live.setState('n', 1)
  const two = nextState(client, 'n', (n: number) => n === 2)
  await app.ds.primitives.live.setState('n', 2)
  t.equal(await two, 2)
  t.equal(await nextState(client, 'n', (n: number) => n === 2), 2, 'the value is there already')
  await client.disconnect()
})
