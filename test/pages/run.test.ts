import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { get, type IncomingMessage } from 'node:http'
import { get as getSecurely } from 'node:https'
import { connect, createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import Fastify from 'fastify'
import t, { type Test } from 'tap'
import { WebSocket } from 'ws'
import { parseAllDocuments } from 'yaml'
import datasole from '../../index.js'
import { DatasoleClient } from '../../lib/client/client.js'
import { resolveOptions } from '../../lib/server/config/settings.js'
import { selfSigned } from '../helpers/certificate.js'
import { blocksOf, program, serve, sourcesOf } from '../helpers/doc-pages.js'
import { writeSnippets } from '../helpers/snippets.js'
import { until } from '../helpers/until.js'

t.setTimeout(480_000) // it starts many programs

const folderOf = (t: Test, name: string): string => writeSnippets(t, `run-run-${name}`, sourcesOf(`docs/run/${name}.md`))
const config = (page: string, name: string): string => blocksOf(`docs/run/${page}.md`).find(({ file }) => file === name)!.code

/** @param ca the certificate of a server with TLS */
async function status (port: number, path: string, headers: Record<string, string> = {}, ca?: string): Promise<number> {
  const request = { port, host: '127.0.0.1', path, headers, agent: false as const }
  const [response] = await once(ca === undefined ? get(request) : getSecurely({ ...request, ca }), 'response') as [IncomingMessage]
  response.resume()
  return response.statusCode!
}

/** Of a Deployment, what the test looks at. */
interface Deployment {
  spec: {
    template: {
      spec: {
        terminationGracePeriodSeconds: number
        containers: Array<{
          ports: Array<{ containerPort: number }>
          readinessProbe: { httpGet: { path: string, port: number }, timeoutSeconds: number }
          lifecycle: { preStop: { exec: { command: [string, string] } } }
        }>
      }
    }
  }
}

async function freePort (): Promise<number> {
  const server = createServer().listen(0)
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  return port
}

async function clientOf (t: Test, url: string, headers: Record<string, string> = {}, ca?: string): Promise<DatasoleClient> {
  class WithHeaders extends WebSocket {
    constructor (address: string, protocols: string[]) { super(address, protocols, { headers, ca }) }
  }
  const client = new DatasoleClient({ url, webSocket: WithHeaders as never, connectTimeoutMs: 5000, onError: () => {} })
  t.teardown(async () => { await client.disconnect() })
  await client.connect()
  return client
}

t.test('run: the server of proxies.md believes its proxy, and no other', async (t) => {
  const { port } = await serve(t, folderOf(t, 'proxies'))
  const client = await clientOf(t, `http://127.0.0.1:${port}`, { 'x-forwarded-for': '203.0.113.9', 'x-forwarded-host': 'example.com', origin: 'https://example.com' })
  t.equal(await client.rpc('address'), '203.0.113.9')
})

function installed (name: string, args: string[]): boolean {
  try {
    execFileSync(name, args, { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

/** Starts a proxy in the foreground; it ends with the test. */
async function proxy (t: Test, name: string, port: number, args: string[], ca?: string): Promise<void> {
  const child = spawn(name, args, { stdio: 'ignore', env: { ...process.env, XDG_DATA_HOME: '/nonexistent' } })
  t.teardown(() => { child.kill('SIGKILL') })
  await until(async () => await status(port, '/', {}, ca).then(() => true, () => false))
}

t.test('run: the configurations of proxies.md work in nginx and Caddy, where those are', async (t) => {
  const { port } = await serve(t, folderOf(t, 'proxies'))
  const to = (text: string): string => text.replaceAll(/127\.0\.0\.1:300[01]/g, `127.0.0.1:${port}`)
  const folder = mkdtempSync(join(tmpdir(), 'datasole-proxy-'))
  t.teardown(() => { rmSync(folder, { recursive: true, force: true }) })
  const origin = { host: 'example.com:8443', origin: 'https://example.com:8443' }
  const { key, cert } = selfSigned()
  writeFileSync(join(folder, 'key.pem'), key)
  writeFileSync(join(folder, 'cert.pem'), cert)
  const check = async (front: number, prefixes: string[], ca?: string): Promise<void> => {
    for (const prefix of prefixes) {
      const client = await clientOf(t, `${ca === undefined ? 'http' : 'https'}://127.0.0.1:${front}${prefix}`, origin, ca)
      t.equal(await client.rpc('address'), '127.0.0.1', `a client by ${prefix}/__ds`)
      t.equal(await status(front, `${prefix}/__ds/datasole-worker.iife.min.js`, {}, ca), 200)
    }
  }

  // without the programs: at least every brace is closed
  for (const text of [config('proxies', 'nginx.conf'), config('proxies', 'sub-path.conf'), config('proxies', 'Caddyfile')]) t.equal(text.split('{').length, text.split('}').length)
  const nginx = process.env.NGINX_PROGRAM // the test command says if it is not here
  if (nginx !== undefined) {
    const front = await freePort()
    const site = to(config('proxies', 'nginx.conf')).replace('listen 443 ssl', `listen 127.0.0.1:${front} ssl`).replace(/\S+\.pem;/, `${folder}/cert.pem;`).replace(/\S+\.key;/, `${folder}/key.pem;`)
      .replace('  location / {', `${to(config('proxies', 'sub-path.conf'))}\n  location / {`)
    writeFileSync(join(folder, 'nginx.conf'), `daemon off; master_process off; pid ${folder}/pid; error_log ${folder}/error.log; events {} http { access_log off; ${['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((name) => `${name}_temp_path ${folder}/${name};`).join(' ')}\n${site} }`)
    await proxy(t, nginx, front, ['-c', join(folder, 'nginx.conf'), '-p', folder], cert)
    await check(front, ['', '/my-app'], cert)
  }
  if (installed('caddy', ['version'])) {
    const front = await freePort()
    writeFileSync(join(folder, 'Caddyfile'), `{\n  admin off\n}\n${to(config('proxies', 'Caddyfile')).replace('example.com', `http://:${front}`)}`)
    await proxy(t, 'caddy', front, ['run', '--config', join(folder, 'Caddyfile'), '--adapter', 'caddyfile'])
    await check(front, ['', '/my-app'])
  }
})

t.test('run: a server has TLS of its own, with http of Node.js and with Fastify', async (t) => {
  const { key, cert } = selfSigned()
  const folder = folderOf(t, 'proxies')
  writeFileSync(join(folder, 'key.pem'), key)
  writeFileSync(join(folder, 'cert.pem'), cert)
  const { port } = await serve(t, folder, 'tls.js', { TLS_KEY: join(folder, 'key.pem'), TLS_CERT: join(folder, 'cert.pem') })
  await t.rejects((await clientOf(t, `https://localhost:${port}`, {}, cert)).rpc('none'), { code: -32601 })
  await t.rejects(clientOf(t, `https://localhost:${port}`), { code: 'CONNECT_TIMEOUT' }, 'who does not know the certificate')

  const fastify = Fastify({ https: { key, cert } })
  t.teardown(() => fastify.close())
  await fastify.register(datasole)
  fastify.ds.rpc.register('address', (_params, { connection }) => connection.remoteAddress)
  const { host } = new URL(await fastify.listen())
  const client = await clientOf(t, `https://${host}`, { origin: `https://${host}` }, cert)
  t.match(await client.rpc('address'), /^(::1|127\.0\.0\.1)$/)
})

t.test('run: the server of containers.md says that it is ready, guards its metrics, and drains', async (t) => {
  const { port, stop } = await serve(t, folderOf(t, 'containers'), 'server.js', { OPS_TOKEN: 'secret', REDIS_URL: process.env.REDIS_URL! })
  t.equal(await status(port, '/ops/health'), 200)
  t.equal(await status(port, '/ops/metrics'), 401)
  t.equal(await status(port, '/ops/metrics', { authorization: 'Bearer secret' }), 200)
  const client = await clientOf(t, `http://127.0.0.1:${port}`)
  t.type(await client.rpc('now'), 'string')
  await client.disconnect()
  t.equal(await stop(), 0)
})

t.test('run: a pod of containers.md leaves while another takes its clients', async (t) => {
  const [deployment, service] = parseAllDocuments(config('containers', 'datasole.yaml')).map((document) => document.toJS() as Deployment & { spec: { ports: Array<{ targetPort: number }> } })
  const { terminationGracePeriodSeconds, containers: [container] } = deployment!.spec.template.spec
  const { readinessProbe: { httpGet, timeoutSeconds }, lifecycle, ports } = container!
  const { path } = httpGet
  const [, , drain] = /(drainMs): ([\d_]+)/.exec(sourcesOf('docs/run/containers.md').get('server.ts')!)!
  const { closeTimeoutMs } = resolveOptions({})
  const needs = Number(lifecycle.preStop.exec.command[1]) + (Number(drain!.replace('_', '')) + closeTimeoutMs) / 1000
  t.ok(terminationGracePeriodSeconds > needs, `${needs} s`)
  t.ok(timeoutSeconds > 1, 'more than healthTimeoutMs')
  for (const port of [httpGet.port, ports[0]!.containerPort, service!.spec.ports[0]!.targetPort]) t.equal(port, 3000)

  // with fewer seconds, so that the test does not take them
  const folder = writeSnippets(t, 'run-pods', new Map([['server.ts', sourcesOf('docs/run/containers.md').get('server.ts')!.replace(drain!, '1_000')]]))
  const env = { REDIS_URL: process.env.REDIS_URL! }
  const [old, young] = [await serve(t, folder, 'server.js', env), await serve(t, folder, 'server.js', env)]
  for (const { port } of [old, young]) t.equal(await status(port, path), 200)
  // the service sends clients to the pods that are ready
  let target = old.port
  const front = createServer((socket) => {
    const pod = connect(target, '127.0.0.1')
    socket.pipe(pod).pipe(socket)
    for (const end of [socket, pod]) end.on('error', () => {}).on('close', () => { socket.destroy(); pod.destroy() })
  }).listen(0, '127.0.0.1')
  await once(front, 'listening')
  t.teardown(() => { front.close() })
  const client = await clientOf(t, `http://127.0.0.1:${(front.address() as AddressInfo).port}`)
  const { connectionId } = client
  t.type(await client.rpc('now'), 'string')

  target = young.port
  const left = old.stop()
  await until(async () => {
    const answer = await status(old.port, path).catch(() => undefined) // it takes no connection
    t.ok(answer === undefined || answer === 503, 'it is not ready any more')
    return client.connectionId !== undefined && client.connectionId !== connectionId
  })
  t.type(await client.rpc('now'), 'string', 'on the other pod')
  t.equal(await left, 0)
})

t.test('run: the server of pm2.md tells its manager that it is ready', async (t) => {
  const folder = folderOf(t, 'pm2')
  const { port, stop } = await serve(t, folder, 'server.js', { REDIS_URL: process.env.REDIS_URL! })
  const client = await clientOf(t, `http://127.0.0.1:${port}`)
  t.type(await client.rpc('pid'), 'number')
  await client.disconnect()
  t.equal(await stop(), 0)
})

t.test('run: the backends of redis-postgres.md are made of options that exist', async (t) => {
  const folder = folderOf(t, 'redis-postgres')
  const load = async (name: string): Promise<Record<string, unknown>> => await import(resolve(folder, `${name}.js`)) as Record<string, unknown>
  t.ok((await load('sentinel')).backend instanceof Object)
  t.ok((await load('redis-cluster')).backend instanceof Object)
  t.match((await load('migration')).sql, /CREATE TABLE/)
  const store = await load('store') as Record<string, () => { init: () => Promise<void>, close: () => Promise<void> }>
  process.env.DATABASE_URL = process.env.POSTGRES_URL
  for (const make of [store.onRedis!, store.onPostgres!]) {
    const ds = make()
    await ds.init()
    await ds.close()
  }
})

t.test('run: the script of capacity.md measures, and the hooks of the checklist load', async (t) => {
  const { line } = program(t, folderOf(t, 'capacity'), 'measure.js')
  t.match(await line(/-?[\d.]+ KB per connection/), /KB/)
  await import(resolve(folderOf(t, 'security-checklist'), 'hooks.js'))
})
