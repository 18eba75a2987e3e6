import { createServer } from 'node:http'
import { setImmediate } from 'node:timers/promises'
import Fastify, { type FastifyInstance } from 'fastify'
import t from 'tap'
import datasole from '../../index.js'
import { MemoryBackend } from '../../lib/backend/memory/memory.js'
import { unsubscriber } from '../../lib/protocol/unsubscribe.js'
import backend from '../../plugins/backend.js'
import { DatasoleServer } from '../../plugins/server.js'
import { capturedLogger } from '../helpers/entrances.js'
import { randomOf, seed } from '../helpers/random.js'

/** Takes a few turns of the event loop to connect and to close, and counts what is open. */
class SlowBackend extends MemoryBackend {
  connected = 0
  subscribed = 0

  constructor (readonly turns: number) { super() }

  async connect (): Promise<void> {
    await turnsOf(this.turns)
    this.connected++
  }

  async close (): Promise<void> {
    await turnsOf(this.turns)
    this.connected--
  }

  override subscribe (...args: Parameters<MemoryBackend['subscribe']>): ReturnType<MemoryBackend['subscribe']> {
    this.subscribed++
    const unsubscribe = super.subscribe(...args)
    return unsubscriber(() => { this.subscribed--; unsubscribe() })
  }
}

async function turnsOf (count: number): Promise<void> {
  for (let i = 0; i < count; i++) await setImmediate()
}

interface Server { start: () => Promise<unknown>, close: () => Promise<unknown> }

const entrances: Array<[name: string, make: (outer: SlowBackend, inner: SlowBackend) => Server]> = [
  ['fastify', (outer, inner) => {
    const app = Fastify()
    void app.register(datasole, { stateBackend: outer })
    void app.register(async (scope: FastifyInstance) => {
      await scope.register(backend, { stateBackend: inner })
      scope.ds.primitives.live.createSyncChannel({ key: 'k', direction: 'bidirectional', mode: 'json-patch', initialValue: 1 })
    })
    return { start: async () => await app.ready(), close: async () => { await app.close() } }
  }],
  ['standalone', (outer, inner) => {
    const ds = new DatasoleServer({ stateBackend: outer, logger: capturedLogger([]) })
    ds.register(async (scope: FastifyInstance) => {
      await scope.register(backend, { stateBackend: inner })
      scope.ds.primitives.live.createSyncChannel({ key: 'k', direction: 'bidirectional', mode: 'json-patch', initialValue: 1 })
    })
    ds.transport.attach(createServer())
    return { start: () => ds.init(), close: () => ds.close() }
  }]
]

for (const [entrance, make] of entrances) {
  t.test(`${entrance}: close() at any moment, also while starting and twice, leaves nothing open (SEED=${seed})`, async (t) => {
    const random = randomOf(seed)
    for (let round = 0; round < 40; round++) {
      const backends = [new SlowBackend(random(5)), new SlowBackend(random(5))] as const
      const server = make(...backends)
      const starting = server.start().catch(() => {}) // it may have been closed before
      await turnsOf(random(25))
      const closings = [server.close()]
      await turnsOf(random(4))
      closings.push(server.close())
      await Promise.all([starting, ...closings])
      const open = backends.map(({ connected, subscribed }) => ({ connected, subscribed }))
      t.strictSame(open, [{ connected: 0, subscribed: 0 }, { connected: 0, subscribed: 0 }], `round ${round}`)
    }
  })
}
