import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout } from 'node:timers/promises'
import t from 'tap'
import { WebSocket } from 'ws'
import type { StateBackend } from '../../lib/backend/backend.js'
import { type ClientCounter, type ClientMap, type ClientRegister, DatasoleClient, DatasoleError } from '../../lib/client/client.js'
import { isEqual } from '../../lib/protocol/json.js'
import { DatasoleServer } from '../../plugins/server.js'
import { capturedLogger } from '../helpers/entrances.js'
import { storeNode } from '../helpers/nodes.js'
import { type Proxy, proxy } from '../helpers/proxy.js'
import { randomOf, seed } from '../helpers/random.js'
import { stores } from '../helpers/stores.js'

t.comment(`seed ${seed} (SEED=${seed} repeats this run)`)

const FIELDS = ['a', 'b', '__proto__']

/** ms in which all replicas have to agree once nothing happens any more, a reconnect's backoff included. */
const CONVERGENCE = 15_000

/** A process's part that can go and come back on its port. */
class Server {
  port = 0
  ds!: DatasoleServer
  readonly logs: string[] = []
  readonly #backend: () => StateBackend
  #http = createServer()

  constructor (backend: () => StateBackend) {
    this.#backend = backend
  }

  async start (): Promise<this> {
    this.#http = createServer()
    this.ds = new DatasoleServer({ stateBackend: this.#backend(), rateLimit: false, closeTimeoutMs: 20, logger: capturedLogger(this.logs) })
    this.ds.primitives.crdt.register('count', 'pn-counter')
    this.ds.transport.attach(this.#http)
    await this.ds.init()
    this.#http.listen(this.port, '127.0.0.1')
    await once(this.#http, 'listening')
    this.port = (this.#http.address() as AddressInfo).port
    return this
  }

  async stop (): Promise<void> {
    await this.ds.close()
    this.#http.closeAllConnections()
    await new Promise((resolve) => this.#http.close(resolve))
  }
}

interface Replica { client: DatasoleClient, errors: unknown[], way: Proxy, count: ClientCounter, map: ClientMap<Record<string, unknown>>, register: ClientRegister<unknown> }

for (const [kind, open] of Object.entries(stores)) {
  for (let round = 0; round < 2; round++) {
    t.test(`${kind}: clients write while connections break and nodes restart (${round})`, { timeout: 120_000 }, async (t) => {
      const random = randomOf(seed + round)
      const backend = open()
      const servers = await Promise.all(Array.from({ length: 2 }, () => new Server(backend).start()))
      t.teardown(async () => { for (const server of servers) await server.stop() })
      const replicas: Replica[] = []
      for (let i = 0; i < 2 + random(4); i++) {
        const way = await proxy(t, servers[i % servers.length]!.port)
        const errors: unknown[] = []
        const client = new DatasoleClient({ url: `http://127.0.0.1:${way.port}`, webSocket: WebSocket, reconnectInterval: 20, onError: (error) => { errors.push(error) } })
        t.teardown(() => client.disconnect())
        if (i > 0) void client.connect()
        replicas.push({ client, errors, way, count: client.crdt('count', 'pn-counter'), map: client.crdt('map', 'lww-map'), register: client.crdt('register', 'lww-register') as ClientRegister<unknown> })
      }
      let total = 0
      const restarts: Array<Promise<unknown>> = []
      for (let step = 0; step < 300; step++) {
        const { count, map, register, way } = replicas[random(replicas.length)]!
        const amount = random(10)
        switch (random(6)) {
          case 0: total += amount; count.increment(amount); break
          case 1: total -= amount; count.decrement(amount); break
          case 2: map.set(FIELDS[random(3)]!, { step }); break
          case 3: map.remove(FIELDS[random(3)]!); break
          case 4: register.set(step); break
          default: {
            const fault = random(12)
            if (fault < 2) way.cut()
            if (fault === 2) way.swallow('down')
            if (fault === 3) way.swallow('up')
            if (fault === 4) way.refuse()
            if (fault === 5) way.heal()
            if (fault === 6 && restarts.length < 3) {
              const server = servers[random(servers.length)]!
              await Promise.all(restarts)
              restarts.push(server.stop().then(() => server.start()))
            }
            if (random(3) === 0) await servers[0]!.ds.primitives.crdt.getValue('count').catch(() => {}) // it may be closed just now
          }
        }
        if (random(3) === 0) await setTimeout(random(5))
      }
      await Promise.all(restarts)
      for (const { way } of replicas) {
        way.heal()
        way.cut() // those that are half-open would be noticed by their heartbeat only
      }
      await replicas[0]!.client.connect()
      const { primitives: { crdt } } = await storeNode(t, { stateBackend: backend() })
      const states = async (): Promise<unknown[]> => [
        [await crdt.getValue('count'), await crdt.getValue('map') ?? {}, await crdt.getValue('register')],
        ...replicas.map(({ count, map, register }) => [count.value, map.value, register.value])
      ]
      const isDone = async (): Promise<boolean> => {
        if (replicas.some(({ count, map, register }) => count.isPending || map.isPending || register.isPending)) return false
        const [truth, ...others] = await states()
        return others.every((other) => isEqual(other, truth))
      }
      for (const deadline = Date.now() + CONVERGENCE; !await isDone() && Date.now() < deadline;) await setTimeout(20)
      t.ok(await isDone(), 'all replicas are equal, and hold what the store holds', { states: await states(), pending: replicas.map(({ count, map, register }) => [count.isPending, map.isPending, register.isPending]) })
      t.equal(await crdt.getValue('count'), total, 'no increment is lost, none counts twice')
      // of the first failure of a connect() its client hears; the first replica connected when all was well
      const isFirstFailure = (error: unknown): boolean => error instanceof DatasoleError && error.code === 'CONNECT_FAILED' && error.message.endsWith('; connect() keeps trying')
      for (const [i, { errors }] of replicas.entries()) t.strictSame(i > 0 && isFirstFailure(errors[0]) ? errors.slice(1) : errors, [], `replica ${i}`, { errors })
    })
  }
}
