import websocket from '@fastify/websocket'
import Fastify, { type FastifyInstance } from 'fastify'
import t from 'tap'
import type { WebSocket } from 'ws'
import datasole from '../../index.js'
import { DatasoleClient } from '../../lib/client/client.js'
import { until } from '../helpers/until.js'

for (const registration of ['ours', 'the application\'s']) {
  t.test(`injectWS, with ${registration} registration of @fastify/websocket`, async (t) => {
    async function start (options: Parameters<typeof datasole>[1] = {}, trustProxy = false): Promise<FastifyInstance> {
      const app = Fastify({ trustProxy })
      if (registration !== 'ours') await app.register(websocket)
      await app.register(datasole, options)
      app.ds.rpc.register('whoami', (_params, { connection }) => [connection.userId, connection.remoteAddress])
      await app.ready()
      t.teardown(() => app.close())
      return app
    }

    /** The recipe of docs/testing.md. */
    function clientOf (app: FastifyInstance, headers: Record<string, string> = {}): DatasoleClient {
      function InjectedWebSocket (url: string, protocols: string[]): WebSocket {
        let socket: WebSocket
        app.injectWS(new URL(url).pathname, { headers: { ...headers, 'sec-websocket-protocol': protocols.join(', ') } }, { onInit: (ws) => { socket = ws } })
          .catch((error: unknown) => { socket.emit('error', error); socket.emit('close', 1006, Buffer.alloc(0)) })
        return socket!
      }
      const client = new DatasoleClient({ url: 'http://localhost', webSocket: InjectedWebSocket as never, reconnect: false })
      t.teardown(() => client.disconnect())
      return client
    }

    t.test('our client calls, subscribes, and is told of the end', async (t) => {
      const app = await start()
      await app.ds.primitives.live.setState('board', { n: 1 })
      const client = clientOf(app)
      await client.connect()
      t.same(await client.rpc('whoami'), ['127.0.0.1', '127.0.0.1'])
      const seen = new Promise<unknown>((resolve) => { client.subscribeState('board', (value) => { if (value !== undefined) resolve(value) }) })
      t.same(await seen, { n: 1 })
      t.equal(app.ds.transport.getConnectionCount(), 1)
      await client.disconnect()
      await until(() => app.ds.transport.getConnectionCount() <= 0)
    })

    t.test('an address of the test\'s own, and one behind a proxy', async (t) => {
      const app = await start()
      const [ws] = [await app.injectWS('/__ds', { socket: { remoteAddress: '10.0.0.1' } } as never)]
      t.equal(app.ds.transport.getConnectionCount(), 1)
      ws.terminate()
      const proxied = clientOf(await start({}, true), { 'x-forwarded-for': '10.0.0.2' })
      await proxied.connect()
      t.same(await proxied.rpc('whoami'), ['10.0.0.2', '10.0.0.2'])
    })

    t.test('what is refused rejects, and close() ends', async (t) => {
      const app = await start({ authHandler: () => ({ authenticated: false }), maxConnections: 1 })
      for (let refused = 0; refused < 2;) {
        const { message } = await app.injectWS('/__ds').then(() => { throw new Error('let in') }, (error: Error) => error)
        if (message.includes('503')) continue // a place is given back when its socket has closed
        t.match(message, /401/)
        refused++
      }
      await app.close()
    })

    t.test('close() ends a connection with 1001', async (t) => {
      const app = await start()
      const ws = await app.injectWS('/__ds')
      const closed = new Promise((resolve) => { ws.on('close', resolve) })
      await app.close()
      t.equal(await closed, 1001)
    })
  })
}
