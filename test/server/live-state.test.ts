import t from 'tap'
import { Opcode } from '../../lib/protocol/opcodes.js'
import { entrances } from '../helpers/entrances.js'
import { Mirror } from '../helpers/mirror.js'
import { until } from '../helpers/until.js'

const { STATE_PATCH, STATE_SNAPSHOT, SUBSCRIBE } = Opcode
const PAD = 'x'.repeat(300)

for (const [entrance, start] of entrances) {
  t.test(`live state, ${entrance}`, async (t) => {
    t.test('every commit reaches every subscriber as the operations that were committed', async (t) => {
      const { ds, connect } = await start(t)
      const { live } = ds.primitives
      await live.setState('k', { n: 0, list: [1, 2, 3], PAD })
      const wires = await Promise.all(Array.from({ length: 20 }, () => connect()))
      for (const wire of wires) await wire.ask(SUBSCRIBE, { key: 'k' })
      const committed = [
        await live.setState('k', { n: 1, list: [1, 2, 3], PAD }),
        await live.update('k', (draft) => { (draft as { list: number[] }).list.splice(1, 1) }),
        await live.setState('k', { n: 1, list: [1, 3], PAD, __proto__: null, more: { 'a/b': [null] } }),
        await live.setState('k', 'a text of its own now'),
        await live.setState('k', null)
      ]
      for (const wire of wires) {
        for (const [i, patches] of committed.entries()) {
          const { id, payload } = await wire.nextOf(STATE_PATCH)
          t.equal(id, 0)
          t.match(payload, { key: 'k', from: i + 1, version: i + 2 })
          t.strictSame(payload.patches, JSON.parse(JSON.stringify(patches)))
        }
      }
      t.equal(ds.metrics.snapshot().statePatches, wires.length * committed.length)
    })

    t.test('live state: a snapshot has the position that clients follow from', async (t) => {
      const { ds, connect } = await start(t)
      const { live } = ds.primitives
      t.match(await live.getSnapshot('k'), { value: undefined, version: 0 })
      await live.setState('k', { n: 1, list: [PAD] })
      const { value, ...head } = await live.getSnapshot('k') as { value: { n: number }, epoch: string, version: number }
      t.strictSame([value, head.version], [{ n: 1, list: [PAD] }, 1])
      value.n = 5
      t.match(await live.getState('k'), { n: 1 }, 'it is a copy')
      const wire = await connect()
      const { opcode, payload } = await wire.ask(SUBSCRIBE, { key: 'k', ...head })
      t.equal(opcode, STATE_PATCH)
      t.match(payload, { ...head, patches: [] })
    })

    t.test('the order of frames is the order of what happened', async (t) => {
      const { ds, connect } = await start(t)
      const { live } = ds.primitives
      await live.setState('k', { n: 0, PAD })
      ds.rpc.register('write', async (params) => {
        await live.update('k', (draft) => { (draft as { n: unknown }).n = params })
        ds.primitives.fanout.broadcast('written', params)
        return 'done'
      })
      const wire = await connect()
      await wire.nextOf(Opcode.WELCOME)
      await wire.ask(SUBSCRIBE, { key: 'k' })
      for (let n = 1; n <= 5; n++) {
        wire.send(Opcode.RPC_REQ, n, { method: 'write', params: n, correlationId: n })
        t.match([await wire.next(), await wire.next(), await wire.next()], [{ opcode: STATE_PATCH }, { opcode: Opcode.EVENT_S2C }, { opcode: Opcode.RPC_RES }], 'who writes sees the change before the answer')
      }
    })

    t.test('writes at once arrive in one go, and complete', async (t) => {
      const { ds, connect } = await start(t)
      const { live } = ds.primitives
      await live.setState('k', { n: 0, PAD })
      const mirror = new Mirror()
      mirror.use(await connect())
      mirror.subscribe('k')
      await mirror.until(() => mirror.held.has('k'))
      await Promise.all(Array.from({ length: 150 }, () => live.update('k', (draft) => { (draft as { n: number }).n++ })))
      await mirror.until(() => mirror.held.get('k')!.version === 151)
      t.strictSame(mirror.value('k'), { n: 150, PAD })
      t.ok(mirror.patches < 20, `${mirror.patches} frames for 150 commits`)
      t.strictSame(mirror.complaints, [])
    })

    t.test('large states come deflated, small changes of them plain', async (t) => {
      const { ds, connect } = await start(t)
      const { live } = ds.primitives
      const rows = Array.from({ length: 500 }, (_, id) => ({ id, name: `row ${id}` }))
      await live.setState('k', { n: 0, rows })
      const wire = await connect()
      const snapshot = await wire.ask(SUBSCRIBE, { key: 'k' })
      t.ok(snapshot.deflated)
      t.strictSame(snapshot.payload.data, { n: 0, rows })
      await live.update('k', (draft) => { (draft as { n: number }).n++ })
      t.notOk((await wire.nextOf(STATE_PATCH)).deflated)
      const plain = await start(t, { compression: false })
      await plain.ds.primitives.live.setState('k', { rows })
      t.notOk((await (await plain.connect()).ask(SUBSCRIBE, { key: 'k' })).deflated)
    })

    t.test('several SUBSCRIBEs are each answered, a deletion and a new life in between included', async (t) => {
      const { ds, connect } = await start(t)
      const { live } = ds.primitives
      await live.setState('k', 1)
      const wire = await connect()
      const ids = [wire.id(), wire.id(), wire.id()]
      for (const id of ids) wire.send(SUBSCRIBE, id, { key: 'k' })
      for (const id of ids) t.match(await wire.waitFor((frame) => frame.id === id), { opcode: STATE_SNAPSHOT, payload: { data: 1 } })
      const mirror = new Mirror()
      mirror.use(wire)
      mirror.subscribe('k')
      await Promise.all([live.deleteState('k'), live.setState('k', 2), live.deleteState('k'), live.setState('k', 3)])
      await mirror.until(() => mirror.value('k') === 3)
      await wire.ping()
      t.equal(mirror.value('k'), 3)
      t.strictSame(mirror.complaints, [])
    })

    t.test('a hook that writes, a handler that writes to what it guards: nothing waits for itself', async (t) => {
      const { ds, connect } = await start(t)
      const { live } = ds.primitives
      ds.addHook('preSubscribe', async (_ctx, { key }) => { await live.setState(key, `made for ${key}`) })
      t.match(await (await connect()).ask(SUBSCRIBE, { key: 'fresh' }), { opcode: STATE_SNAPSHOT, payload: { data: 'made for fresh' } })
      await live.update('nested', () => { void live.setState('nested', 'second'); return 'first' })
      t.ok(['first', 'second'].includes(await live.getState('nested') as string))
      await until(async () => await live.getState('nested') === 'second')
    })
  })
}
