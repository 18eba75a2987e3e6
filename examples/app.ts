import { readFileSync } from 'node:fs'
import { hostname, totalmem } from 'node:os'
import { pathToFileURL } from 'node:url'
import datasole from 'datasole'
import Fastify, { type FastifyInstance } from 'fastify'
import { chat } from './chat.js'
import { chatContract } from './chat-contract.js'
import type { AppContract } from './contract.js'
import { HostWatch } from './host.js'
import { onStop } from './stop.js'

declare module 'datasole' {
  interface Register { contract: AppContract }
}

/** The folder of the page: plain HTML, CSS and JavaScript. */
const PAGE = new URL('../../examples/app/', import.meta.url)
const FILES = { '/': 'index.html', '/style.css': 'style.css', '/page.js': 'page.js', '/chart.js': 'chart.js' }
const TYPES: Record<string, string> = { html: 'text/html', css: 'text/css', js: 'text/javascript' }
const POLICY = "default-src 'none'; script-src 'self'; worker-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

/** An app with live state of this machine, calls, and a chat with presence. A page uses one WebSocket for all of it. */
export async function app (): Promise<FastifyInstance> {
  const fastify = Fastify({ logger: { level: 'warn' } })
  await fastify.register(datasole, {
    contract: chatContract,
    rateLimit: {
      defaultRule: { windowMs: 60_000, maxRequests: 600 },
      rules: { say: { windowMs: 10_000, maxRequests: 5 } }
    }
  })
  page(fastify)
  calls(fastify)
  await chat(fastify.ds)
  await hostState(fastify)
  return fastify
}

function page (fastify: FastifyInstance): void {
  for (const [url, file] of Object.entries(FILES)) {
    const body = readFileSync(new URL(file, PAGE))
    fastify.get(url, (_request, reply) => reply
      .header('content-security-policy', POLICY)
      .header('x-content-type-options', 'nosniff')
      .type(`${TYPES[file.split('.').pop()!]}; charset=utf-8`)
      .send(body))
  }
}

function calls (fastify: FastifyInstance): void {
  const { rpc } = fastify.ds
  rpc.register('echo', ({ text }) => ({ text }))
  rpc.register('time', () => ({ now: new Date().toISOString() }))
  rpc.register('factorize', {
    schema: { params: { type: 'object', properties: { n: { type: 'integer', minimum: 2, maximum: 1e12 } }, required: ['n'] } }
  }, ({ n }) => {
    const factors = []
    for (let p = 2; p * p <= n; p += p === 2 ? 1 : 2) for (; n % p === 0; n /= p) factors.push(p)
    return { factors: n > 1 ? [...factors, n] : factors }
  })
}

/** Keeps one minute of samples as live state. Each second adds one and drops one, and only this change is sent. */
async function hostState (fastify: FastifyInstance): Promise<void> {
  const { metrics, primitives: { live } } = fastify.ds
  const watch = new HostWatch(metrics.snapshot())
  await live.setState('host', { name: hostname(), memory: totalmem(), samples: [] })

  const look = async (): Promise<void> => {
    const sample = watch.look(metrics.snapshot())
    await live.update('host', (host) => {
      const { samples } = host!
      samples.push(sample)
      if (samples.length > 60) samples.shift()
    })
  }
  const timer = setInterval(() => { look().catch((error: unknown) => { fastify.log.error(error) }) }, 1000)

  fastify.addHook('onClose', async () => {
    clearInterval(timer)
    watch.stop()
  })
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const port = Number(process.env.PORT ?? 3000)
  const fastify = await app()
  try {
    console.log(`Open ${await fastify.listen({ port })}`)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error
    console.error(`Port ${port} is taken: choose another, as in PORT=${port + 1} npm start`)
    process.exit(1)
  }
  onStop(() => fastify.close())
}
