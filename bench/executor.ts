import { once } from 'node:events'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { WebSocket } from 'ws'
import { encodeFrame } from '../lib/protocol/frame.js'
import { Opcode } from '../lib/protocol/opcodes.js'
import { DatasoleServer } from '../plugins/server.js'

/** What the pool is measured by: each in its unit, and what it must reach. */
export interface ExecutorFigure { name: string, value: number, unit: string, target: string }

const SCRIPT = fileURLToPath(new URL('executor-script.js', import.meta.url))
const COMPUTATION = 300
const COMPUTATIONS = 8

/** The server runs in a process of its own; this one is the load. */
if (process.argv[2] === 'server') await serve(process.argv[3] as 'async' | 'thread-pool')

async function serve (model: 'async' | 'thread-pool'): Promise<void> {
  const ds = new DatasoleServer({ rateLimit: false, rpcTimeoutMs: 60_000, executor: model === 'async' ? { model } : { model, poolSize: 2, workerScript: SCRIPT } })
  ds.rpc.register('main', (params) => params)
  if (model === 'async') (await import('./executor-script.js')).default(ds)
  const http = createServer()
  await ds.init()
  ds.transport.attach(http)
  await new Promise<void>((resolve) => { http.listen(0, '127.0.0.1', resolve) })
  const delay = monitorEventLoopDelay({ resolution: 1 })
  delay.enable()
  let busy = performance.eventLoopUtilization()
  process.on('message', (what) => {
    const { user, system } = process.cpuUsage()
    process.send!({ cpu: user + system, p99: delay.percentile(99) / 1e6, main: performance.eventLoopUtilization(busy).active })
    delay.reset()
    if (what === 'reset') busy = performance.eventLoopUtilization()
  })
  process.on('disconnect', () => { process.exit() })
  process.send!({ port: (http.address() as AddressInfo).port })
}

interface Answer { cpu: number, p99: number, main: number }

class Server {
  readonly #process
  #port = 0

  constructor (model: string) {
    this.#process = fork(fileURLToPath(import.meta.url), ['server', model])
  }

  async start (): Promise<this> {
    const [{ port }] = await once(this.#process, 'message') as [{ port: number }]
    this.#port = port
    return this
  }

  async ask (what = ''): Promise<Answer> {
    this.#process.send(what)
    return (await once(this.#process, 'message') as [Answer])[0]
  }

  async connect (): Promise<Client> {
    const socket = new WebSocket(`ws://127.0.0.1:${this.#port}/__ds`, ['datasole.v3'], { perMessageDeflate: false })
    await once(socket, 'message')
    return new Client(socket)
  }

  stop (): void {
    this.#process.kill()
  }
}

class Client {
  readonly #waiting = new Map<number, () => void>()
  #lastId = 0

  constructor (readonly socket: WebSocket) {
    socket.on('message', (data: Buffer) => {
      const id = data[0] === 0x78 ? this.#lastId : data.readUInt32BE(1)
      this.#waiting.get(id)?.()
      this.#waiting.delete(id)
    })
  }

  call (method: string, params: unknown): Promise<void> {
    const correlationId = ++this.#lastId
    return new Promise((resolve) => {
      this.#waiting.set(correlationId, resolve)
      this.socket.send(encodeFrame(Opcode.RPC_REQ, correlationId, Buffer.from(JSON.stringify({ method, params, correlationId }))))
    })
  }
}

/** Latencies of calls one after the other, for as long as `isOver` is false. */
async function latencies (client: Client, isOver: () => boolean): Promise<number[]> {
  const found = []
  while (!isOver()) {
    const began = performance.now()
    await client.call('main', { text: 'hello' })
    found.push(performance.now() - began)
    await new Promise((resolve) => setTimeout(resolve, 2))
  }
  return found.sort((a, b) => a - b)
}

const at = (sorted: number[], share: number): number => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]!

async function isolation (): Promise<ExecutorFigure[]> {
  const server = await new Server('thread-pool').start()
  const echo = await server.connect()
  const busy = await Promise.all(Array.from({ length: COMPUTATIONS }, () => server.connect()))
  await Promise.all(busy.map((client) => client.call('compute', 1)))
  const until = performance.now() + 1200
  const idle = await latencies(echo, () => performance.now() > until)
  await server.ask('reset')
  let isOver = false
  const computing = Promise.all(busy.map((client) => client.call('compute', COMPUTATION))).then(() => { isOver = true })
  const loaded = await latencies(echo, () => isOver)
  await computing
  const { p99 } = await server.ask()
  server.stop()
  return [
    { name: `${COMPUTATIONS} computations of ${COMPUTATION} ms in a pool of two: event-loop delay, p99`, value: p99, unit: 'ms', target: '< 20' },
    { name: 'echo of other connections meanwhile, median, of its idle latency', value: at(loaded, 0.5) / at(idle, 0.5), unit: 'times', target: '< 2' },
    { name: 'the same, p95', value: at(loaded, 0.95) / at(idle, 0.95), unit: 'times', target: '' }
  ]
}

async function cost (model: string, connections: number, depth: number, count: number, params: unknown): Promise<{ cpu: number, main: number }> {
  const server = await new Server(model).start()
  const clients = await Promise.all(Array.from({ length: connections }, () => server.connect()))
  const run = async (calls: number): Promise<void> => {
    let left = calls
    await Promise.all(clients.flatMap((client) => Array.from({ length: depth }, async () => { while (left-- > 0) await client.call('echo', params) })))
  }
  await run(count / 4)
  const before = await server.ask('reset')
  await run(count)
  const after = await server.ask()
  server.stop()
  return { cpu: (after.cpu - before.cpu) / count, main: after.main * 1000 / count }
}

async function overhead (): Promise<ExecutorFigure[]> {
  const figures = []
  for (const [connections, depth] of [[50, 1], [50, 10], [1, 1]] as const) {
    const differences = []
    for (let i = 0; i < 3; i++) {
      const params = { text: 'hello', n: 1 }
      const pool = await cost('thread-pool', connections, depth, 20_000, params)
      differences.push(pool.cpu - (await cost('async', connections, depth, 20_000, params)).cpu)
    }
    differences.sort((a, b) => a - b)
    figures.push({ name: `a trivial call in the pool, CPU over async; ${connections} connections, ${depth} under way on each`, value: differences[1]!, unit: 'µs', target: '< 40' })
  }
  return figures
}

async function large (): Promise<ExecutorFigure[]> {
  const params = { records: Array.from({ length: 5000 }, (_, id) => ({ id, name: `record ${id}`, values: [id, id * 2, id / 3], isOpen: id % 2 === 0, text: 'abcdefgh' })) }
  const figures = []
  for (const model of ['async', 'thread-pool']) {
    const { main } = await cost(model, 1, 1, 200, params)
    figures.push({ name: `main thread, echo of ${Math.round(JSON.stringify(params).length / 1000)} KB, ${model}`, value: main / 1000, unit: 'ms', target: '' })
  }
  return figures
}

async function throughput (): Promise<ExecutorFigure[]> {
  const elapsed: Record<string, number> = {}
  for (const model of ['async', 'thread-pool']) {
    const server = await new Server(model).start()
    const clients = await Promise.all(Array.from({ length: 8 }, () => server.connect()))
    await Promise.all(clients.map((client) => client.call('work', 5e6)))
    const began = performance.now()
    await Promise.all(clients.map(async (client) => { for (let i = 0; i < 5; i++) await client.call('work', 5e7) }))
    elapsed[model] = performance.now() - began
    server.stop()
  }
  return [{ name: 'throughput of pure computation, pool of two over async', value: elapsed.async! / elapsed['thread-pool']!, unit: 'times', target: '> 1.7' }]
}

/** All of them, one after the other. */
export async function executor (): Promise<ExecutorFigure[]> {
  return [...await isolation(), ...await overhead(), ...await large(), ...await throughput()]
}
