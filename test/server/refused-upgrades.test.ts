import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import websocket from '@fastify/websocket'
import Fastify, { type FastifyInstance } from 'fastify'
import t from 'tap'
import datasole from '../../index.js'
import { entrances } from '../helpers/entrances.js'
import { tcp, upgradeRequest } from '../helpers/raw.js'
import { until } from '../helpers/until.js'

const COUNT = 10

/** What each of several upgrades is answered, by clients that keep their side open: it is the server that has to end. */
async function refused (port: number, headers: Record<string, string> = {}): Promise<string[]> {
  return await Promise.all(Array.from({ length: COUNT }, async () => {
    const socket = await tcp(port, { allowHalfOpen: true })
    let text = ''
    socket.setEncoding('utf8').on('data', (chunk: string) => { text += chunk })
    const ended = Promise.race([once(socket, 'end'), once(socket, 'close')])
    socket.write(upgradeRequest('/__ds', headers))
    await ended
    socket.destroy()
    return text.slice(9, 12)
  }))
}

const HOOKS: Record<string, [status: string, before: (app: FastifyInstance) => unknown]> = {
  'a hook replies': ['401', (app) => app.addHook('onRequest', async (_request, reply) => await reply.code(401).send('no'))],
  'a hook throws': ['500', (app) => app.addHook('onRequest', async () => { throw new Error('no') })],
  'a hook hijacks, and answers by itself': ['403', (app) => app.addHook('onRequest', async (_request, reply) => { reply.hijack(); reply.raw.writeHead(403).end() })],
  'a hook redirects': ['302', (app) => app.addHook('onRequest', async (_request, reply) => reply.redirect('/login'))],
  'a logger cannot be made': ['', (app) => app.setChildLoggerFactory(() => { throw new Error('no') })],
  'a response takes a while': ['200', (app) => app.addHook('onRequest', async (_request, reply) => { reply.hijack(); reply.raw.write('a'); setImmediate(() => reply.raw.end('b')) })]
}

for (const registration of ['ours', 'the application\'s']) {
  t.test(`sockets end where ${registration} registration of @fastify/websocket gets an upgrade that is refused`, async (t) => {
    for (const [name, [status, before]] of Object.entries(HOOKS)) {
      t.test(name, async (t) => {
        const app = Fastify()
        await before(app)
        if (registration !== 'ours') await app.register(websocket)
        await app.register(datasole)
        await app.listen({ port: 0, host: '127.0.0.1' })
        t.same(await refused((app.server.address() as AddressInfo).port), Array(COUNT).fill(status))
        await app.close()
      })
    }

    t.test('a timeout of handlers, while a hook hangs', async (t) => {
      const app = Fastify({ handlerTimeout: 30 })
      app.addHook('onRequest', () => new Promise(() => {}))
      if (registration !== 'ours') await app.register(websocket)
      await app.register(datasole)
      await app.listen({ port: 0, host: '127.0.0.1' })
      t.same(await refused((app.server.address() as AddressInfo).port), Array(COUNT).fill('503'))
      await app.close()
    })

    t.test('close() ends upgrades that a hook of the application\'s still holds', async () => {
      const app = Fastify()
      const asked: string[] = []
      app.addHook('onRequest', ({ url }) => { asked.push(url); return new Promise(() => {}) })
      if (registration !== 'ours') await app.register(websocket)
      await app.register(datasole)
      await app.listen({ port: 0, host: '127.0.0.1' })
      const outcome = refused((app.server.address() as AddressInfo).port)
      await until(() => asked.length >= COUNT)
      await app.close()
      await outcome
    })
  })
}

for (const [entrance, start] of entrances) {
  t.test(`${entrance}: sockets end, whoever refuses`, async (t) => {
    for (const [status, options, headers] of [
      ['401', { authHandler: () => ({ authenticated: false }) }],
      ['500', { authHandler: () => { throw new Error('no') } }],
      ['500', { authHandler: () => new Promise(() => {}), authTimeoutMs: 20 }],
      ['403', {}, { Origin: 'https://a.example' }],
      ['403', { prepare: (ds) => ds.addHook('onConnect', () => { throw new Error('no') }) }],
      ['404', { path: '/other' }],
      ['400', {}, { 'Sec-WebSocket-Version': '7' }],
      ['400', {}, { 'Sec-WebSocket-Key': 'short' }]
    ] as Array<[string, Parameters<typeof start>[1], Record<string, string>?]>) {
      const { port, close } = await start(t, options)
      t.same(await refused(port, headers), Array(COUNT).fill(status), JSON.stringify(headers ?? options))
      await close()
    }
  })

  t.test(`${entrance}: a plain GET is told what the path is for, and the log what a proxy lacks`, async (t) => {
    const { origin, logs } = await start(t)
    for (const method of ['GET', 'HEAD', 'GET']) {
      const response = await fetch(`${origin}/__ds?token=secret`, { method, headers: { 'sec-websocket-key': 'x', 'sec-websocket-version': '13' } })
      t.equal(response.status, 426)
      t.equal(response.headers.get('upgrade'), 'websocket')
      t.match(response.headers.get('connection'), /upgrade/i)
      if (method === 'GET') t.match(await response.json(), { statusCode: 426, error: 'Upgrade Required' })
    }
    const told = logs.filter((line) => line.includes('proxy_set_header Upgrade'))
    t.equal(told.length, 1, 'once')
    t.match(JSON.parse(told[0]!), { level: 40, lacks: ['upgrade', 'connection'], path: '/__ds' })
    t.notOk(logs.some((line) => line.includes('secret')))
  })
}

t.test('refused upgrades: the same without a socket, as a test of an application asks', async (t) => {
  const app = Fastify()
  await app.register(datasole)
  t.match(await app.inject('/__ds'), { statusCode: 426, headers: { upgrade: 'websocket', connection: 'Upgrade' } })
  await app.close()
})
