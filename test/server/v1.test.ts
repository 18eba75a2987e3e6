import t from 'tap'
import { Opcode } from '../../lib/protocol/opcodes.js'
import { entrances } from '../helpers/entrances.js'

const PAD = 'x'.repeat(300)
/** Bytes of payload that published clients take. */
const LIMIT = 1024 * 1024

for (const [entrance, start] of entrances) {
  t.test(`v1, ${entrance}`, async (t) => {
    t.test('it is told nothing of version 2, and is asked for nothing', async (t) => {
      const { ds, connectV1 } = await start(t)
      const client = await connectV1()
      t.equal(client.wire.socket.protocol, '')
      t.equal(client.wire.socket.extensions, '', 'permessage-deflate is declined')
      t.strictSame(await client.call('echo', { a: 1 }), { correlationId: client.wire.id() - 1, result: { a: 1 } })
      ds.primitives.fanout.broadcast('news', { n: 1 })
      await client.until(({ events }) => events.length === 1)
      t.match(client.events, [{ event: 'news', data: { n: 1 }, timestamp: Number }])
      let heard: unknown
      ds.primitives.events.on('chat', ({ data }) => { heard = data })
      client.wire.send(Opcode.EVENT_C2S, 0, { event: 'chat', data: 'hi' })
      await client.call('echo')
      t.equal(heard, 'hi')
      t.strictSame(client.complaints, [])
    })

    t.test('opcodes of version 2 are bad frames', async (t) => {
      const { connectV1 } = await start(t)
      const { wire } = await connectV1()
      for (const opcode of [Opcode.SUBSCRIBE, Opcode.UNSUBSCRIBE, Opcode.RPC_CANCEL, Opcode.STATE_PUSH]) {
        t.match(await wire.ask(opcode, { key: 'k' }), { opcode: Opcode.ERROR, payload: { code: 'BAD_FRAME' } })
      }
    })

    t.test('every live key comes by itself: a snapshot, then patches in order', async (t) => {
      const { ds, connectV1 } = await start(t)
      const { live, state } = ds.primitives
      await live.setState('early', { n: 0, PAD })
      await state.setState('hidden', 'never seen')
      const client = await connectV1()
      await client.until(({ state }) => state.has('early'))
      for (let n = 1; n <= 20; n++) await live.update('early', (draft) => { (draft as { n: number }).n = n })
      await live.setState('late', { n: 0, PAD })
      await live.setState('late', { n: 1, PAD })
      await client.until(({ state }) => (state.get('early') as { n: number }).n === 20 && (state.get('late') as { n: number } | undefined)?.n === 1)
      t.ok(client.wire.received.filter(({ opcode }) => opcode === Opcode.STATE_PATCH).length >= 20, 'as patches')
      t.notOk(client.state.has('hidden'))
      await live.deleteState('late')
      await client.until(({ state }) => state.get('late') === undefined)
      await live.setState('late', 'again')
      await client.until(({ state }) => state.get('late') === 'again')
      t.strictSame(client.complaints, [])
      const second = await connectV1()
      await second.until(({ state }) => state.size === 2)
      t.strictSame([...second.state], [['early', { n: 20, PAD }], ['late', 'again']])
    })

    t.test('a patch that it would drop goes to it as a snapshot', async (t) => {
      const { ds, connect, connectV1 } = await start(t)
      const { live } = ds.primitives
      const of = (json: string): unknown => ({ PAD, ...JSON.parse(`{"a":${json}}`) as object })
      await live.setState('k', of('{}'))
      const client = await connectV1()
      const wire = await connect()
      await wire.ask(Opcode.SUBSCRIBE, { key: 'k' })
      await client.until(({ state }) => state.has('k'))
      for (const json of ['{"__proto__":1}', '{"__proto__":2}', '{"constructor":{"x":1}}', '{"constructor":{"x":2}}', '{"prototype":[1]}', '{"prototype":[1,2]}', '{"x":"\\"path\\":\\"/__proto__\\""}', '{"path":"/__proto__/x"}', '{"path":"/a/prototype"}', '{"not__proto__":1}', '{"a/b":{"__proto__":1}}', '{}']) {
        await live.setState('k', of(json))
        t.match(await wire.nextOf(Opcode.STATE_PATCH), { payload: { key: 'k' } }, 'version 2 takes it as it is')
        const wanted = JSON.stringify(of(json))
        await client.until(({ state }) => JSON.stringify(state.get('k')) === wanted)
      }
      t.strictSame(client.complaints, [])
    })

    t.test('frames are never larger than it takes', async (t) => {
      const { ds, connectV1, logs } = await start(t, { compression: false })
      const { live } = ds.primitives
      await live.setState('k', '')
      const client = await connectV1()
      await client.until(({ state }) => state.has('k'))
      const { payload } = client.wire.received.find(({ opcode }) => opcode === Opcode.STATE_SNAPSHOT)!
      const envelope = JSON.stringify({ n: client.wire.short.numberOf('k'), ...payload }).length
      await live.setState('k', 'x'.repeat(LIMIT - envelope))
      await client.until(({ state }) => (state.get('k') as string).length === LIMIT - envelope)
      t.equal(ds.metrics.snapshot().stateOversized, 0)
      for (const value of ['y'.repeat(LIMIT - envelope + 1), 'ü'.repeat(LIMIT / 2), 'z'.repeat(LIMIT), { big: 'ü'.repeat(LIMIT) }]) {
        await live.setState('k', value)
        t.match(await client.call('echo', 1), { result: 1 }, 'it is still there')
      }
      t.equal(ds.metrics.snapshot().stateOversized, 4)
      t.equal(logs.filter((line) => line.includes('over 1 MiB')).length, 1, 'logged once')
      await live.update('k', (draft) => { (draft as { more: string }).more = 'ü'.repeat(LIMIT / 2) })
      await client.call('echo')
      await live.setState('k', 'small again')
      await client.until(({ state }) => state.get('k') === 'small again')
      await live.setState('k', 'and goes on')
      await client.until(({ state }) => state.get('k') === 'and goes on')
      t.strictSame(client.complaints, [])
    })

    t.test('many keys come as fast as it reads, not all at once', async (t) => {
      const { ds, connectV1 } = await start(t, { highWaterMark: 64 * 1024, maxBufferedBytes: 512 * 1024, compression: false, maxSubscriptions: 10 })
      const { live } = ds.primitives
      const keys = Array.from({ length: 150 }, (_, i) => `key ${i}`)
      await Promise.all(keys.map((key, i) => live.setState(key, `${i} ${'x'.repeat(100_000)}`)))
      const client = await connectV1()
      client.wire.socket.pause()
      for (let i = 0; i < 30; i++) await new Promise(setImmediate)
      client.wire.socket.resume()
      await client.until(({ state }) => state.size === keys.length)
      t.equal(ds.metrics.snapshot().slowConsumers, 0)
      t.strictSame(client.complaints, [])
    })
  })
}
