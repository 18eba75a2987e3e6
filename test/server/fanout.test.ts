import t from 'tap'
import type { Target } from '../../plugins/server.js'
import { Opcode } from '../../lib/protocol/opcodes.js'
import { entrances } from '../helpers/entrances.js'
import type { Wire } from '../helpers/wire.js'

const { EVENT_S2C } = Opcode

for (const [entrance, start] of entrances) {
  t.test(`fanout, ${entrance}`, async (t) => {
    const { ds, connect, connectV1 } = await start(t, { rateLimit: false })
    const { fanout } = ds.primitives
    ds.rpc.register('tags', (params, { connection }) => {
      const { add = [], remove = [], clear = false } = params as { add?: string[], remove?: string[], clear?: boolean }
      if (clear) connection.tags.clear()
      for (const tag of add) connection.tags.add(tag)
      for (const tag of remove) connection.tags.delete(tag)
      return [...connection.tags]
    })
    const wires: Wire[] = []
    const ids: string[] = []
    for (let i = 0; i < 4; i++) {
      const wire = await connect()
      wires.push(wire)
      ids.push((await wire.nextOf(Opcode.WELCOME)).payload.connectionId)
    }
    /** The places of those that get a broadcast. */
    const reached = async (target?: Target): Promise<number[]> => {
      fanout.broadcast('news', { to: 'you' }, target)
      const places = []
      for (const [i, wire] of wires.entries()) {
        await wire.ping()
        const frames = wire.received.splice(0)
        if (frames.length > 0) places.push(i)
        if (frames.length > 1) t.fail('twice')
        for (const frame of frames) t.match(frame, { opcode: EVENT_S2C, id: 0, payload: { event: 'news', data: { to: 'you' }, timestamp: Number } })
      }
      return places
    }

    t.test('everyone, or those selected by connection and tag', async (t) => {
      await wires[0]!.call('tags', { add: ['red', 'blue'] })
      await wires[2]!.call('tags', { add: ['red'] })
      t.strictSame(await reached(), [0, 1, 2, 3])
      t.strictSame(await reached({}), [0, 1, 2, 3])
      t.strictSame(await reached({ to: { connection: ids[1]! } }), [1])
      t.strictSame(await reached({ to: { connection: [ids[1]!, ids[3]!, 'nobody'] } }), [1, 3])
      t.strictSame(await reached({ to: { tag: 'red' } }), [0, 2])
      t.strictSame(await reached({ to: { tag: ['red', 'blue'] } }), [0, 2], 'once, though both tags are there')
      t.strictSame(await reached({ to: { tag: 'blue', connection: ids[3]! } }), [0, 3], 'members are a union')
      t.strictSame(await reached({ except: { tag: 'red' } }), [1, 3])
      t.strictSame(await reached({ to: { tag: 'red' }, except: { connection: ids[0]! } }), [2])
      t.strictSame(await reached({ to: { tag: 'nobody has it' } }), [])
      t.strictSame(await reached({ to: {} }), [])
      t.strictSame(await reached({ to: { tag: [] } }), [])
      t.strictSame(await reached({ except: {} }), [0, 1, 2, 3])
    })

    t.test('tags are bounded in number and length', async (t) => {
      const { ds, connect } = await start(t, { maxTags: 3 })
      ds.rpc.register('tag', (tag, { connection }) => {
        try {
          return connection.tags.add(tag as string).size
        } catch (error) {
          throw new Error((error as Error).message)
        }
      })
      const wire = await connect()
      for (const [tag, size] of [['a', 1], ['b', 2], ['b', 2], ['x'.repeat(1024), 3], ['a', 3]]) t.equal((await wire.call('tag', tag)).result, size)
      t.match(await wire.call('tag', 'c'), { error: { message: /at most 3 tags \(maxTags\)/ } })
      const other = await connect()
      t.match(await other.call('tag', 'x'.repeat(1025)), { error: { message: /at most 1024 characters/ } })
    })

    t.test('tags come and go', async (t) => {
      await wires[0]!.call('tags', { remove: ['red', 'never there'] })
      t.strictSame(await reached({ to: { tag: 'red' } }), [2])
      await wires[0]!.call('tags', { clear: true, add: ['red', 'red'] })
      t.strictSame(await reached({ to: { tag: ['red', 'blue'] } }), [0, 2])
      await wires[0]!.call('tags', { clear: true })
      t.strictSame(await reached({ to: { tag: ['red', 'blue'] } }), [2])
      await wires[2]!.close()
      wires.splice(2, 1)
      ids.splice(2, 1)
      t.strictSame(await reached({ to: { tag: 'red' } }), [], 'with their connection too')
    })

    t.test('version 1 clients get them as well, and data of any kind', async (t) => {
      const old = await connectV1()
      for (const data of [null, 0, '', [1], { a: { b: 'ü\u0000' } }, 'x'.repeat(10_000)]) {
        fanout.broadcast('any', data)
        for (const wire of wires) t.strictSame((await wire.nextOf(EVENT_S2C)).payload.data, data)
      }
      await old.until(({ events }) => events.length === 6)
      t.throws(() => { fanout.broadcast('bad', 1n) }, { name: 'TypeError', code: 'INVALID_JSON', message: /a bigint, found at ""/ })
      const cycle: { self?: unknown } = {}
      cycle.self = cycle
      t.throws(() => { fanout.broadcast('bad', cycle) }, { name: 'TypeError', code: 'INVALID_JSON', message: /a cycle, found at "\/self"/ })
      t.throws(() => { ds.primitives.events.emit('bad', 1n) }, { name: 'TypeError', code: 'INVALID_JSON' })
      const own = new Error('of its own')
      t.throws(() => { fanout.broadcast('bad', { toJSON () { throw own } }) }, own)
    })

    t.test('a target that cannot be meant is refused: it would reach everyone', async (t) => {
      const targets = [null, 'ann', 5, [], { too: { user: 'ann' } }, { to: null }, { to: 'ann' }, { to: [] }, { except: null }, { to: { users: 'ann' } }, { to: { user: 5 } }, { to: { user: null } }, { to: { tag: ['red', 5] } }, { except: { connection: {} } }]
      for (const target of targets) {
        t.throws(() => { fanout.broadcast('news', 1, target as never) }, { name: 'TypeError', code: 'INVALID_ARGUMENT' }, JSON.stringify(target))
      }
      t.throws(() => { fanout.broadcast('news', 1, { too: {} } as never) }, { message: /"news".*target\.too/ })
      t.throws(() => { fanout.broadcast('news', 1, { to: { users: [] } } as never) }, { message: /target\.to\.users/ })
      t.strictSame(await reached({ to: { tag: undefined }, except: undefined } as Target), [])
    })

    t.test('tags are strings', async (t) => {
      let error: unknown
      ds.rpc.register('bad tag', (_params, { connection }) => { try { connection.tags.add(1 as never) } catch (thrown) { error = thrown } })
      await wires[0]!.call('bad tag')
      t.type(error, TypeError)
    })
  })

  t.test(`${entrance}: users`, async (t) => {
    const { ds, connect } = await start(t, { authHandler: (req) => ({ authenticated: true, userId: req.headers.authorization?.slice('Bearer '.length) }) })
    const wires: Wire[] = []
    for (const name of ['ann', 'ann', 'bob', undefined]) wires.push(await connect(name === undefined ? {} : { headers: { authorization: `Bearer ${name}` } }))
    const reached = async (target: Target): Promise<number[]> => {
      for (const wire of wires) wire.received.length = 0
      ds.primitives.fanout.broadcast('news', 1, target)
      const places = []
      for (const [i, wire] of wires.entries()) {
        await wire.ping()
        if (wire.received.length > 0) places.push(i)
      }
      return places
    }
    for (const wire of wires) await wire.ping()
    t.strictSame(await reached({ to: { user: 'ann' } }), [0, 1])
    t.strictSame(await reached({ to: { user: ['ann', 'bob'] }, except: { user: 'ann' } }), [2])
    t.strictSame(await reached({ except: { user: 'bob' } }), [0, 1, 3])
    ds.disconnectUser('ann')
    t.match(await Promise.all([wires[0]!.closed, wires[1]!.closed]), [{ code: 4401 }, { code: 4401 }])
    ds.disconnectUser('bob', { code: 4000, reason: 'because' })
    t.strictSame(await wires[2]!.closed, { code: 4000, reason: 'because' })
    ds.disconnectUser('nobody')
    for (const userId of [undefined, null, 5]) t.throws(() => { ds.disconnectUser(userId as never) }, { name: 'TypeError', code: 'INVALID_ARGUMENT', message: /disconnectUser/ })
    t.equal(wires[3]!.socket.readyState, wires[3]!.socket.OPEN)
  })
}
