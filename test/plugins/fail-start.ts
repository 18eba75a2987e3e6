import { createServer } from 'node:http'
import Fastify, { type FastifyInstance } from 'fastify'
import datasole from '../../index.js'
import { MemoryBackend } from '../../lib/backend/memory/memory.js'
import backend from '../../plugins/backend.js'
import executor from '../../plugins/executor.js'
import rateLimit from '../../plugins/rate-limit.js'
import { DatasoleServer, type RateLimiter } from '../../plugins/server.js'

/**
 * Starts a server of one entrance that fails at one place, and sends what was connected and closed. Nobody closes the
 * server, and the process has to end by itself. Of what fails outside of datasole only Fastify knows, and its `close`.
 */
const [entrance, place] = process.argv.slice(2)
const calls: string[] = []

class Tracked extends MemoryBackend {
  constructor (readonly name: string) { super() }
  async connect (): Promise<void> {
    if (place === this.name) throw new Error(`${place} is away`)
    calls.push(`connect ${this.name}`)
    // what a driver holds open, and only close() lets go
    this.#timer = setInterval(() => {}, 1000)
  }

  async close (): Promise<void> {
    calls.push(`close ${this.name}`)
    clearInterval(this.#timer)
  }

  #timer: NodeJS.Timeout | undefined
}

class TrackedLimiter implements RateLimiter {
  #timer: NodeJS.Timeout | undefined
  async connect (): Promise<void> {
    if (place === 'limiter') throw new Error('limiter is away')
    calls.push('connect limiter')
    this.#timer = setInterval(() => {}, 1000)
  }

  async close (): Promise<void> {
    calls.push('close limiter')
    clearInterval(this.#timer)
  }

  check = this.consume
  async consume (): Promise<{ allowed: boolean, remaining: number, resetAt: number }> { return { allowed: true, remaining: 1, resetAt: 0 } }
  async reset (): Promise<void> {}
}

const script = new URL(place === 'script' ? 'throwing-script.js' : 'scope-script.js', import.meta.url).pathname
const options = { stateBackend: new Tracked('root') }

async function build (app: Pick<FastifyInstance, 'register' | 'ds'>): Promise<void> {
  await app.register(async (scope: FastifyInstance) => {
    await scope.register(backend, { stateBackend: new Tracked('inner') })
    await scope.register(rateLimit, { defaultRule: { windowMs: 1000, maxRequests: 1 }, rateLimiter: new TrackedLimiter() })
    await scope.register(executor, { model: 'thread-pool', poolSize: 1, workerScript: script })
    if (place === 'schema') scope.ds.rpc.register('m', { schema: { params: { type: 'nonsense' } } }, () => 1)
    if (place === 'plugin') throw new Error('plugin fails')
  })
}

let close = async (): Promise<void> => {}

async function start (): Promise<void> {
  if (entrance === 'standalone') {
    const ds = new DatasoleServer(options)
    await build({ ds, register: (plugin: never, given: never) => ds.register(plugin, given) } as never)
    ds.transport.attach(createServer())
    return await ds.init()
  }
  const app = Fastify()
  if (['plugin', 'hook', 'port'].includes(place!)) close = async () => { await app.close() }
  await app.register(datasole, options)
  await build(app)
  if (place === 'hook') app.addHook('onReady', async () => { throw new Error('hook fails') })
  await app.listen({ port: place === 'port' ? Number(process.argv[4]) : 0 })
}

const failure = await start().then(() => 'none', ({ code, message }: Error & { code?: string }) => `${code} ${message}`)
await close()
process.once('beforeExit', () => { process.send!({ failure, calls }) })
