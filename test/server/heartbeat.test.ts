import { once } from 'node:events'
import t from 'tap'
import { Opcode } from '../../lib/protocol/opcodes.js'
import { entrances } from '../helpers/entrances.js'
import { upgraded, webSocketFrame } from '../helpers/raw.js'
import { encode } from '../helpers/wire.js'
import { until } from '../helpers/until.js'

for (const [entrance, start] of entrances) {
  t.test(`heartbeat, ${entrance}`, async (t) => {
    t.test('pings are sent, and who answers them stays', async (t) => {
      const { connect, ds } = await start(t, { heartbeatMs: 100 })
      const wire = await connect()
      t.match((await wire.next()).payload, { heartbeatMs: 100 })
      for (let i = 0; i < 4; i++) await once(wire.socket, 'ping')
      t.same((await wire.call('echo', 1)).result, 1)
      t.equal(ds.transport.getConnectionCount(), 1)
    })

    t.test('who says nothing for two intervals is closed with 4408', async (t) => {
      const { connect, ds } = await start(t, { heartbeatMs: 150, closeTimeoutMs: 50 })
      const codes: number[] = []
      const left = new Promise<void>((resolve) => { ds.addHook('onDisconnect', (_connection, code) => { codes.push(code); resolve() }) })
      const silent = await connect({ autoPong: false })
      const started = performance.now()
      t.match(await silent.closed, { code: 4408 })
      const took = performance.now() - started
      t.ok(took >= 299, `not before two intervals: ${took}`)
      await left
      t.same(codes, [4408])
    })

    t.test('a peer that does not even answer the close is cut off', async (t) => {
      const { port, ds, connect } = await start(t, { heartbeatMs: 150, closeTimeoutMs: 50 })
      const witness = await connect()
      const left = new Promise<number>((resolve) => { ds.addHook('onDisconnect', (_connection, code) => { resolve(code) }) })
      const socket = await upgraded(port)
      socket.pause()
      t.equal(await left, 1006)
      t.same((await witness.call('echo', 1)).result, 1)
      socket.destroy()
    })

    t.test('any byte counts, if pings are not answered', async (t) => {
      const { port, ds } = await start(t, { heartbeatMs: 150, rateLimit: false })
      const gone: number[] = []
      ds.addHook('onDisconnect', (_connection, code) => { gone.push(code) })
      const socket = await upgraded(port)
      socket.resume()
      const message = webSocketFrame(encode(Opcode.EVENT_C2S, 0, { event: 'e', data: 'x'.repeat(100) }))
      // a message that takes six intervals to arrive
      for (let i = 0; i < 12; i++) {
        socket.write(message.subarray(Math.floor(i * message.length / 12), Math.floor((i + 1) * message.length / 12)))
        await new Promise((resolve) => setTimeout(resolve, 75))
      }
      await until(() => gone.length > 0 || ds.metrics.snapshot().eventsIn > 0)
      t.strictSame(gone, [])
      socket.destroy()
    })
  })
}
