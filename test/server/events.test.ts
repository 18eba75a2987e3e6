import t from 'tap'
import type { ConnectionContext } from '../../plugins/server.js'
import { Opcode } from '../../lib/protocol/opcodes.js'
import { Gate } from '../helpers/backends.js'
import { entrances } from '../helpers/entrances.js'

const { EVENT_C2S, EVENT_S2C, ERROR } = Opcode

for (const [entrance, start] of entrances) {
  t.test(`events, ${entrance}`, async (t) => {
    t.test('a client\'s event reaches every handler once, with its connection', async (t) => {
      const { ds, connect } = await start(t)
      const seen: Array<[unknown, ConnectionContext | undefined]> = []
      ds.primitives.events.on('chat', (message, connection) => { seen.push([message, connection]) })
      ds.primitives.events.on('chat', (message, connection) => { seen.push([message, connection]) })
      const wire = await connect()
      const { payload: { connectionId } } = await wire.nextOf(Opcode.WELCOME)
      const before = Date.now()
      wire.send(EVENT_C2S, 0, { event: 'chat', data: { text: 'hi' } })
      wire.send(EVENT_C2S, 0, { event: 'nobody listens', data: 1 })
      await wire.ping()
      t.equal(seen.length, 2)
      for (const [message, connection] of seen) {
        t.match(message, { event: 'chat', data: { text: 'hi' }, timestamp: Number })
        t.ok((message as { timestamp: number }).timestamp >= before)
        t.equal(connection!.connectionId, connectionId)
      }
      t.strictSame(wire.received, [])
    })

    t.test('a handler that throws or rejects is logged, and the others still run', async (t) => {
      const { ds, connect, logs } = await start(t)
      let ran = 0
      const { events } = ds.primitives
      events.on('e', () => { throw new Error('thrown by a handler') })
      events.on('e', async () => { await null; throw new Error('rejected by a handler') })
      events.on('e', () => { throw Object.create(null) })
      events.on('e', () => { ran++ })
      const wire = await connect()
      wire.send(EVENT_C2S, 0, { event: 'e' })
      await wire.ping()
      t.equal(ran, 1)
      t.match(logs.join(''), /thrown by a handler/)
      t.match(logs.join(''), /rejected by a handler/)
    })

    t.test('events of a connection stay in order, whatever their hooks wait for', async (t) => {
      const { ds, connect } = await start(t)
      const gates = [new Gate(), new Gate(), new Gate()]
      ds.addHook('preEvent', (_ctx, { data }) => gates[data as number]?.pass())
      const seen: unknown[] = []
      ds.primitives.events.on('e', ({ data }) => { seen.push(data) })
      const wire = await connect()
      const other = await connect()
      for (const n of [0, 1, 7, 2, 8]) wire.send(EVENT_C2S, 0, { event: 'e', data: n })
      await wire.ping()
      other.send(EVENT_C2S, 0, { event: 'e', data: 'other' })
      await other.ping()
      t.strictSame(seen, ['other'], 'others do not wait')
      gates[1]!.open()
      gates[2]!.open()
      await wire.ping()
      t.strictSame(seen, ['other'])
      gates[0]!.open()
      await wire.ping()
      await wire.ping()
      t.strictSame(seen, ['other', 0, 1, 7, 2, 8])
      wire.send(EVENT_C2S, 0, { event: 'e', data: 9 })
      await wire.ping()
      t.strictSame(seen.at(-1), 9)
    })

    t.test('a hook refuses with ERROR under the event\'s id, and what follows goes on', async (t) => {
      const { ds, connect } = await start(t)
      ds.addHook('preEvent', (_ctx, { data }) => {
        if (data === 'sync') throw new Error('not that')
        if (data === 'async') return Promise.reject(new Error('nor that'))
        if (data === 'odd') throw Object.create(null)
        if (data === 'odd and async') return (async () => { throw Object.create(null) })()
      })
      const seen: unknown[] = []
      ds.primitives.events.on('e', ({ data }) => { seen.push(data) })
      const wire = await connect()
      t.match(await wire.ask(EVENT_C2S, { event: 'e', data: 'sync' }), { opcode: ERROR, payload: { code: 'FORBIDDEN', message: 'not that' } })
      t.match(await wire.ask(EVENT_C2S, { event: 'e', data: 'async' }), { opcode: ERROR, payload: { code: 'FORBIDDEN', message: 'nor that' } })
      t.match(await wire.ask(EVENT_C2S, { event: 'e', data: 'odd' }), { opcode: ERROR, payload: { code: 'INTERNAL', retryAfter: Number } })
      t.match(await wire.ask(EVENT_C2S, { event: 'e', data: 'odd and async' }), { opcode: ERROR, payload: { code: 'INTERNAL', retryAfter: Number } })
      wire.send(EVENT_C2S, 0, { event: 'e', data: 'fine' })
      await wire.ping()
      t.strictSame(seen, ['fine'])
    })

    t.test('events that wait for a hook are bounded', async (t) => {
      const { ds, connect } = await start(t, { maxCallsInFlight: 3 })
      const gate = new Gate()
      ds.addHook('preEvent', () => gate.pass())
      let seen = 0
      ds.primitives.events.on('e', () => { seen++ })
      const wire = await connect()
      for (let i = 0; i < 3; i++) wire.send(EVENT_C2S, 0, { event: 'e' })
      t.match(await wire.ask(EVENT_C2S, { event: 'e' }), { opcode: ERROR, payload: { code: 'BUSY', retryAfter: Number } })
      gate.open()
      await wire.ping()
      await wire.ping()
      t.equal(seen, 3)
    })

    t.test('a name that is too long counts in the rate limit all the same', async (t) => {
      const { connect, ds } = await start(t, { maxEventNameLength: 5, rateLimit: { defaultRule: { windowMs: 60_000, maxRequests: 5 } } })
      const wire = await connect()
      for (let i = 1; i <= 8; i++) wire.send(EVENT_C2S, i, { event: 'x'.repeat(6), data: i })
      await wire.ping()
      t.strictSame(wire.received.filter(({ opcode }) => opcode === ERROR).map(({ id, payload }) => [id, payload.code]), [[6, 'RATE_LIMITED'], [7, 'RATE_LIMITED'], [8, 'RATE_LIMITED']])
      t.notOk(wire.received.some(({ payload }) => payload?.event !== undefined), 'and is not sent back')
      t.match(ds.metrics.snapshot(), { eventsDropped: 5, rateLimited: 3 })
    })

    t.test('one that nobody handles is counted, and logged once by name', async (t) => {
      const { ds, connect, logs } = await start(t)
      const wire = await connect()
      for (const event of ['typo', 'typo', 'other']) wire.send(EVENT_C2S, 0, { event })
      await wire.ping()
      t.match(ds.metrics.snapshot(), { eventsIn: 3, eventsUnhandled: 3, eventsDropped: 0 })
      t.strictSame(logs.filter((line) => line.includes('no handler')).map((line) => (JSON.parse(line) as { event: string }).event), ['typo', 'other'])
    })

    t.test('a refusal names the event', async (t) => {
      const { ds, connect } = await start(t, { rateLimit: { defaultRule: { windowMs: 60_000, maxRequests: 2 } } })
      ds.addHook('preEvent', () => { throw new Error('not you') })
      ds.primitives.events.on('e', () => {})
      const wire = await connect()
      t.match(await wire.ask(EVENT_C2S, { event: 'e' }), { opcode: ERROR, payload: { code: 'FORBIDDEN', event: 'e' } })
      await wire.ask(EVENT_C2S, { event: 'e' })
      t.match(await wire.ask(EVENT_C2S, { event: 'e' }), { opcode: ERROR, payload: { code: 'RATE_LIMITED', event: 'e', retryAfter: Number } })
    })

    t.test('a name that is too long is dropped without a word, and counted', async (t) => {
      const { ds, connect } = await start(t, { maxEventNameLength: 5 })
      const seen: string[] = []
      for (const name of ['12345', '123456']) ds.primitives.events.on(name, ({ event }) => { seen.push(event) })
      const wire = await connect()
      await wire.nextOf(Opcode.WELCOME)
      for (const event of ['123456', '12345']) wire.send(EVENT_C2S, wire.id(), { event })
      await wire.ping()
      t.strictSame(seen, ['12345'])
      t.strictSame(wire.received, [])
      t.match(ds.metrics.snapshot(), { eventsIn: 2, eventsDropped: 1, badFrames: 0 })
    })

    t.test('off takes one registration away; emit reaches handlers and no client', async (t) => {
      const { ds, connect } = await start(t)
      const { events } = ds.primitives
      const seen: unknown[] = []
      const handler = ({ data }: { data: unknown }, connection?: ConnectionContext): void => { seen.push([data, connection]) }
      events.on('e', handler)
      events.on('e', handler)
      const wire = await connect()
      await wire.nextOf(Opcode.WELCOME)
      events.emit('e', 1)
      t.strictSame(seen, [[1, undefined], [1, undefined]])
      events.off('e', handler)
      events.emit('e', 2)
      events.off('e', handler)
      events.off('e', handler)
      events.off('never', handler)
      events.emit('e', 3)
      t.strictSame(seen.slice(2), [[2, undefined]])
      t.throws(() => { events.on('e', 'no function' as never) }, TypeError)
      await wire.ping()
      t.strictSame(wire.received, [])
    })

    t.test('handlers get what was emitted as those of another node would: a copy, of what JSON holds', async (t) => {
      const { ds } = await start(t)
      const { events } = ds.primitives
      const seen: unknown[] = []
      events.on('e', ({ data }) => {
        seen.push(structuredClone(data))
        if (typeof data === 'object' && data !== null) (data as { changed?: boolean }).changed = true
      })
      const mine = { at: new Date(0), none: undefined }
      for (const data of [mine, undefined]) events.emit('e', data)
      t.throws(() => { events.emit('e', () => {}) }, { code: 'INVALID_JSON' })
      t.strictSame(seen, [{ at: '1970-01-01T00:00:00.000Z' }, undefined])
      t.strictSame(Object.keys(mine), ['at', 'none'])
    })

    t.test('a handler may take itself away, or add another, while it runs', async (t) => {
      const { ds } = await start(t)
      const { events } = ds.primitives
      const seen: string[] = []
      const once = (): void => { seen.push('once'); events.off('e', once); events.on('e', () => { seen.push('added') }) }
      events.on('e', once)
      events.on('e', () => { seen.push('second') })
      events.emit('e', null)
      t.strictSame(seen, ['once', 'second'])
      events.emit('e', null)
      t.strictSame(seen, ['once', 'second', 'second', 'added'])
    })

    t.test('an event without a name is a bad frame', async (t) => {
      const { connect } = await start(t)
      const wire = await connect()
      for (const payload of [{}, { event: 1 }, null, []]) t.match(await wire.ask(EVENT_C2S, payload), { opcode: ERROR, payload: { code: 'BAD_FRAME' } })
    })

    t.test('a relay keeps the order', async (t) => {
      const { ds, connect } = await start(t, { rateLimit: false })
      ds.primitives.events.on('chat', ({ data }) => { ds.primitives.fanout.broadcast('chat', data) })
      const wires = [await connect(), await connect()]
      for (let n = 0; n < 200; n++) wires[0]!.send(EVENT_C2S, 0, { event: 'chat', data: n })
      for (const wire of wires) for (let n = 0; n < 200; n++) t.equal((await wire.nextOf(EVENT_S2C)).payload.data, n)
    })
  })
}
