import { readFileSync } from 'node:fs'
import { pathToFileURL } from 'node:url'
import datasole from 'datasole'
import Fastify, { type FastifyInstance } from 'fastify'
import type { AppContract } from './contract.js'
import { HostWatch } from './host.js'

declare module 'datasole' {
  interface Register { contract: AppContract }
}

/** The page is plain HTML, CSS and JavaScript beside this file's source. */
const PAGE = new URL('../../examples/app/', import.meta.url)
const FILES = { '/': ['index.html', 'text/html'], '/style.css': ['style.css', 'text/css'], '/page.js': ['page.js', 'text/javascript'] }

/** Live state of this machine, calls, and a chat with presence, all over one WebSocket per page. */
export async function app (): Promise<FastifyInstance> {
  const fastify = Fastify({ logger: { level: 'warn' } })
  await fastify.register(datasole, {
    rateLimit: {
      defaultRule: { windowMs: 60_000, maxRequests: 600 },
      rules: { say: { windowMs: 10_000, maxRequests: 5 } }
    }
  })

  for (const [url, [file, type]] of Object.entries(FILES)) {
    const body = readFileSync(new URL(file!, PAGE))
    fastify.get(url, (_request, reply) => reply
      .header('content-security-policy', "default-src 'self'; connect-src 'self' ws: wss:; img-src data:")
      .type(`${type}; charset=utf-8`)
      .send(body))
  }

  hostState(fastify)
  calls(fastify)
  chat(fastify)
  return fastify
}

/** Once a second; what travels is what differs from the second before. */
function hostState (fastify: FastifyInstance): void {
  const { live } = fastify.ds.primitives
  const watch = new HostWatch()
  let timer: NodeJS.Timeout
  const look = async (): Promise<void> => {
    const host = watch.look(fastify.ds.metrics.snapshot())
    await live.setState('host', host)
  }
  fastify.addHook('onReady', async () => {
    await look()
    timer = setInterval(() => { look().catch((error: unknown) => { fastify.log.error(error) }) }, 1000)
  })
  fastify.addHook('onClose', async () => {
    clearInterval(timer)
    watch.stop()
  })
}

function calls (fastify: FastifyInstance): void {
  const { rpc } = fastify.ds
  rpc.register('echo', ({ text }) => ({ text }))
  rpc.register('factorize', {
    schema: { params: { type: 'object', properties: { n: { type: 'integer', minimum: 2, maximum: 1e12 } }, required: ['n'] } }
  }, ({ n }) => {
    const factors = []
    for (let p = 2; p * p <= n; p++) for (; n % p === 0; n /= p) factors.push(p)
    return { factors: n > 1 ? [...factors, n] : factors }
  })
}

/** Rooms are tags of connections; who is where is live state like any other. */
function chat (fastify: FastifyInstance): void {
  const { rpc, primitives: { events, fanout, live } } = fastify.ds
  const text = (maxLength: number): object => ({ type: 'string', minLength: 1, maxLength })

  fastify.addHook('onReady', async () => { await live.setState('people', {}) })

  rpc.register('join', {
    schema: { params: { type: 'object', properties: { name: text(24), room: text(24) }, required: ['name', 'room'] } }
  }, async ({ name, room }, { connection }) => {
    connection.tags.clear()
    connection.tags.add(`room:${room}`)
    connection.set('name', name)
    connection.set('room', room)
    await live.update('people', (people) => { people[connection.connectionId] = { name, room } })
    return { room }
  })

  events.on('say', ({ data }, connection) => {
    const room = connection?.get<string>('room')
    if (room === undefined || typeof data?.text !== 'string' || data.text.trim() === '') return
    fanout.broadcast('message', { name: connection!.get<string>('name')!, text: data.text.slice(0, 500) }, { to: { tag: `room:${room}` } })
  })

  fastify.ds.addHook('onDisconnect', async ({ connectionId }) => {
    await live.update('people', (people) => { delete people[connectionId] })
  })
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const port = Number(process.env.PORT ?? 3000)
  const fastify = await app()
  try {
    console.log(`Open ${await fastify.listen({ port })}`)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error
    console.error(`Port ${port} is taken: choose another, PORT=3001 npm start`)
    process.exit(1)
  }
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => { void fastify.close() })
}
