import t from 'tap'
import { Opcode } from '../../lib/protocol/opcodes.js'
import { applyPatch } from '../../lib/protocol/patch.js'
import { Gate, ShakyBackend } from '../helpers/backends.js'
import { MemoryBackend } from '../../lib/backend/memory/memory.js'
import { entrances } from '../helpers/entrances.js'
import { cluster, node } from '../helpers/nodes.js'
import type { Received, Wire } from '../helpers/wire.js'
import { until } from '../helpers/until.js'

const { STATE_PATCH, STATE_SNAPSHOT, SUBSCRIBE, UNSUBSCRIBE, ERROR } = Opcode
const PAD = 'x'.repeat(300)

function subscribe (wire: Wire, key: string, held: { epoch?: string, version?: number } = {}): Promise<Received> {
  return wire.ask(SUBSCRIBE, { key, epoch: held.epoch, version: held.version })
}

for (const [entrance, start] of entrances) {
  t.test(`live recovery, ${entrance}`, async (t) => {
    t.test('a held version is brought up to date by patches, under the id of the SUBSCRIBE', async (t) => {
      const { ds, connect } = await start(t)
      const { live } = ds.primitives
      await live.setState('k', { n: 1, PAD })
      const first = await connect()
      const snapshot = await subscribe(first, 'k')
      t.match(snapshot, { opcode: STATE_SNAPSHOT, payload: { key: 'k', version: 1, data: { n: 1, PAD } } })
      const { epoch } = snapshot.payload
      await first.close()
      await live.setState('k', { n: 2, PAD })
      await live.update('k', (draft) => { (draft as { m: number }).m = 3 })

      const second = await connect()
      const patch = await subscribe(second, 'k', { epoch, version: 1 })
      t.match(patch, { opcode: STATE_PATCH, payload: { key: 'k', epoch, from: 1, version: 3 } })
      t.strictSame(applyPatch(snapshot.payload.data, patch.payload.patches), { n: 2, PAD, m: 3 })

      t.match(await subscribe(second, 'k', { epoch, version: 3 }), { opcode: STATE_PATCH, payload: { epoch, from: 3, version: 3, patches: [] } }, 'the newest version: nothing to tell')
      t.match(await subscribe(second, 'k', { epoch: 'another', version: 3 }), { opcode: STATE_SNAPSHOT, payload: { epoch, version: 3 } })
      t.match(await subscribe(second, 'k', { epoch, version: 99 }), { opcode: STATE_SNAPSHOT, payload: { epoch, version: 3 } }, 'ahead of everyone')
      t.match(await subscribe(second, 'k', { version: 3 }), { opcode: STATE_SNAPSHOT }, 'a version without an epoch')
      t.match(await subscribe(second, 'k', { epoch }), { opcode: STATE_SNAPSHOT }, 'an epoch without a version')
      t.match(await subscribe(second, 'k', { epoch, version: -1 }), { opcode: STATE_SNAPSHOT })
      await live.setState('k', { n: 4, PAD, m: 3 })
      t.match(await second.nextOf(STATE_PATCH), { id: 0, payload: { from: 3, version: 4, patches: [{ op: 'replace', path: '/n', value: 4 }] } })
      await second.ping()
      t.strictSame(second.received.filter(({ opcode }) => opcode !== Opcode.WELCOME), [], 'once')
    })

    t.test('a key without a value can be subscribed to', async (t) => {
      const { ds, connect } = await start(t)
      const { live } = ds.primitives
      const wire = await connect()
      const empty = await subscribe(wire, 'k')
      t.match(empty, { opcode: STATE_SNAPSHOT, payload: { key: 'k', version: 0 } })
      t.notOk('data' in empty.payload)
      await live.setState('k', null)
      const first = await wire.nextOf(STATE_SNAPSHOT)
      t.match(first, { id: 0, payload: { version: 1, data: null, epoch: empty.payload.epoch } }, 'its first commit keeps the epoch')
      t.equal(await live.deleteState('k'), true)
      const gone = await wire.nextOf(STATE_SNAPSHOT)
      t.match(gone, { id: 0, payload: { key: 'k', version: 0 } })
      t.notOk('data' in gone.payload)
      t.not(gone.payload.epoch, empty.payload.epoch)
      t.equal(await live.deleteState('k'), false)
      await live.setState('k', [1])
      t.match(await wire.nextOf(STATE_SNAPSHOT), { payload: { version: 1, data: [1], epoch: gone.payload.epoch } })
      t.match(await subscribe(wire, 'k', { epoch: empty.payload.epoch, version: 1 }), { opcode: STATE_SNAPSHOT, payload: { version: 1, data: [1] } }, 'the version of a former life')
    })

    t.test('what is written through state alone is never sent, nor what it was before it became live', async (t) => {
      const { ds, connect, connectV1 } = await start(t)
      const { live, state } = ds.primitives
      await state.setState('k', { secret: 'sesame', PAD })
      const wire = await connect()
      const old = await connectV1()
      const empty = await subscribe(wire, 'k')
      t.match(empty, { opcode: STATE_SNAPSHOT, payload: { version: 0 } })
      const { epoch } = empty.payload
      await state.setState('k', { secret: 'sesame 2', PAD })
      await wire.ping()
      t.strictSame(wire.received.filter(({ opcode }) => opcode !== Opcode.WELCOME), [])
      t.notOk('data' in (await subscribe(wire, 'k', { epoch, version: 1 })).payload)
      await live.setState('k', { shown: 1, PAD })
      const shown = await wire.nextOf(STATE_SNAPSHOT)
      t.match(shown.payload, { epoch, version: 3, data: { shown: 1, PAD } })
      await old.until(({ state }) => state.has('k'))
      t.strictSame(old.state.get('k'), { shown: 1, PAD })
      for (const version of [0, 1, 2]) {
        const answer = await subscribe(await connect(), 'k', { epoch, version })
        t.notMatch(JSON.stringify(answer.payload), /se(same|cret)/, `not even to who says it holds version ${version}`)
      }
      await state.setState('k', { shown: 2, PAD })
      t.match(await wire.nextOf(STATE_PATCH), { payload: { version: 4, patches: [{ path: '/shown', value: 2 }] } }, 'a write through state to a live key reaches its subscribers')
      await live.deleteState('k')
      t.match(await wire.nextOf(STATE_SNAPSHOT), { payload: { version: 0 } })
    })

    t.test('history is bounded: 1,000 commits, or 64 KiB', async (t) => {
      const { ds, connect } = await start(t, { rateLimit: false, compression: false })
      const { live } = ds.primitives
      const wire = await connect()
      await live.setState('small', { n: 0, PAD: PAD.repeat(300) })
      const { payload: { epoch } } = await subscribe(wire, 'small')
      wire.send(UNSUBSCRIBE, 0, { key: 'small' })
      for (let n = 1; n <= 1100; n++) await live.update('small', (draft) => { (draft as { n: number }).n = n })
      t.match((await subscribe(wire, 'small', { epoch, version: 101 })).opcode, STATE_PATCH, '1,000 commits')
      wire.send(UNSUBSCRIBE, 0, { key: 'small' })
      t.match((await subscribe(wire, 'small', { epoch, version: 100 })).opcode, STATE_SNAPSHOT, 'one more')

      await live.setState('big', { list: {}, PAD: PAD.repeat(100) })
      const { payload: { epoch: bigEpoch } } = await subscribe(wire, 'big')
      wire.send(UNSUBSCRIBE, 0, { key: 'big' })
      for (let n = 1; n <= 10; n++) await live.update('big', (draft) => { (draft as { list: Record<string, string> }).list = { s: 'y'.repeat(10_000) } })
      for (let n = 1; n <= 5; n++) await live.update('big', (draft) => { (draft as { list: Record<string, string> }).list = { s: String(n).repeat(10_000) } })
      t.match((await subscribe(wire, 'big', { epoch: bigEpoch, version: 1 })).opcode, STATE_SNAPSHOT)
    })

    t.test('patches bigger than the value are not sent: the value is', async (t) => {
      const { ds, connect } = await start(t)
      const { live } = ds.primitives
      await live.setState('k', { n: 0, PAD })
      const wire = await connect()
      const { payload: { epoch } } = await subscribe(wire, 'k')
      wire.send(UNSUBSCRIBE, 0, { key: 'k' })
      for (let n = 1; n <= 50; n++) await live.update('k', (draft) => { (draft as { n: number }).n = n })
      t.match(await subscribe(wire, 'k', { epoch, version: 1 }), { opcode: STATE_SNAPSHOT, payload: { version: 51, data: { n: 50 } } })
      t.match(await subscribe(wire, 'k', { epoch, version: 50 }), { opcode: STATE_PATCH, payload: { from: 50, version: 51 } })
    })

    t.test('between the answer and the first patch nothing is missed', async (t) => {
      const { ds, connect } = await start(t, { rateLimit: false })
      const { live } = ds.primitives
      await live.setState('k', { n: 0, PAD })
      const wire = await connect()
      const stop = new AbortController()
      const writing = (async () => { while (!stop.signal.aborted) { await live.update('k', (draft) => { (draft as { n: number }).n++ }); await new Promise(setImmediate) } })()
      for (let i = 0; i < 50; i++) {
        let { payload: { version, epoch } } = await subscribe(wire, 'k')
        for (let j = 0; j < 3; j++) {
          const { payload } = await wire.nextOf(STATE_PATCH)
          if (payload.from !== version || payload.epoch !== epoch) t.fail(`holding ${version}, given ${payload.from}`)
          version = payload.version
        }
        wire.send(UNSUBSCRIBE, 0, { key: 'k' })
        await wire.ping()
        wire.received.length = 0
      }
      stop.abort()
      await writing
      t.pass()
    })

    t.test('nothing comes after UNSUBSCRIBE; one that was never subscribed is no error', async (t) => {
      const { ds, connect } = await start(t)
      const wire = await connect()
      wire.send(UNSUBSCRIBE, 0, { key: 'never' })
      await subscribe(wire, 'k')
      wire.send(UNSUBSCRIBE, 0, { key: 'k' })
      await wire.ping()
      await ds.primitives.live.setState('k', 1)
      await wire.ping()
      t.strictSame(wire.received.map(({ opcode }) => opcode), [Opcode.WELCOME])
    })

    t.test('subscriptions are limited, and those that end make room', async (t) => {
      const { connect } = await start(t, { maxSubscriptions: 2 })
      const wire = await connect()
      for (const key of ['a', 'b', 'a']) t.match(await subscribe(wire, key), { opcode: STATE_SNAPSHOT })
      t.match(await subscribe(wire, 'c'), { opcode: ERROR, payload: { code: 'LIMIT_EXCEEDED', key: 'c', message: /2/ } })
      wire.send(UNSUBSCRIBE, 0, { key: 'a' })
      t.match(await subscribe(wire, 'c'), { opcode: STATE_SNAPSHOT })
    })

    t.test('a malformed SUBSCRIBE is a bad frame', async (t) => {
      const { connect } = await start(t)
      const wire = await connect()
      for (const payload of [{}, { key: 1 }, { key: 'k', version: 1.5 }, { key: 'k', version: '1' }, { key: 'k', epoch: 1 }, [], null, 'k']) {
        t.match(await wire.ask(SUBSCRIBE, payload), { opcode: ERROR, payload: { code: 'BAD_FRAME' } })
      }
    })

    t.test('keys of any name', async (t) => {
      const { ds, connect, connectV1 } = await start(t)
      const wire = await connect()
      const old = await connectV1()
      for (const key of ['__proto__', 'constructor', '', 'a/b~c', 'ü\u0000"\\', 'state:k', 'bus', 'live-keys']) {
        await ds.primitives.live.setState(key, { key })
        t.match(await subscribe(wire, key), { opcode: STATE_SNAPSHOT, payload: { key, data: { key } } })
        await old.until(({ state }) => state.has(key))
        await ds.primitives.live.setState(key, { key, more: PAD })
        t.match(await wire.waitFor(({ opcode, payload }) => opcode <= STATE_SNAPSHOT && payload.version === 2), { payload: { key } })
      }
    })
  })
}

t.test('live recovery: names that clients make up are forgotten', async (t) => {
  const backend = new ShakyBackend()
  const { connect } = await node(t, { stateBackend: backend, rateLimit: false })
  const wire = await connect()
  const ours = (): string[] => [...backend.open.keys()].filter((key) => key.startsWith('state:'))
  for (let i = 0; i < 20; i++) {
    wire.send(SUBSCRIBE, wire.id(), { key: `made up ${i}` })
    if (i % 2 === 0) wire.send(UNSUBSCRIBE, 0, { key: `made up ${i}` }) // before it was answered
  }
  await wire.ping()
  t.equal(ours().length, 10)
  for (let i = 1; i < 20; i += 4) wire.send(UNSUBSCRIBE, 0, { key: `made up ${i}` })
  await wire.ping()
  t.equal(ours().length, 5)
  const gone = new Promise((resolve) => { backend.hears = () => true; resolve(undefined) })
  await wire.close()
  await gone
  await until(() => ours().length <= 0)
  t.strictSame(ours(), [])
})

t.test('live recovery: a client that knows more than its node makes the node look', async (t) => {
  const memory = new MemoryBackend()
  const backends = [new ShakyBackend(memory), new ShakyBackend(memory)]
  const [a, b] = await cluster(t, 2, {}, backends)
  await a!.ds.primitives.live.setState('k', { n: 1, PAD })
  const first = await b!.connect()
  await subscribe(first, 'k')
  backends[1]!.hears = () => false
  await a!.ds.primitives.live.setState('k', { n: 2, PAD })
  const { payload: { epoch } } = await subscribe(await a!.connect(), 'k')
  t.match(await subscribe(await b!.connect(), 'k', { epoch, version: 2 }), { opcode: STATE_PATCH, payload: { from: 2, version: 2 } })
  t.match(await first.nextOf(STATE_PATCH), { payload: { from: 1, version: 2 } }, 'and everyone there gains by it')
})

t.test('live recovery: a client that knows more than a node that is just writing does not go back', async (t) => {
  const memory = new MemoryBackend()
  const backends = [new ShakyBackend(memory), new ShakyBackend(memory)]
  const [a, b] = await cluster(t, 2, {}, backends)
  await a!.ds.primitives.live.setState('k', { n: 1, PAD })
  await b!.ds.primitives.live.getState('k')
  const { payload: { epoch } } = await subscribe(await a!.connect(), 'k')
  const gate = new Gate()
  backends[1]!.before = (method) => method === 'commit' ? gate.pass() : undefined
  const writing = b!.ds.primitives.live.update('k', (draft) => { (draft as { n: number }).n *= 10 })
  await gate.arrival()
  for (const n of [2, 3]) await a!.ds.primitives.live.setState('k', { n, PAD })
  const wire = await b!.connect()
  const id = wire.id()
  wire.send(SUBSCRIBE, id, { key: 'k', epoch, version: 3 })
  await wire.ping()
  gate.open()
  await writing
  t.match(await wire.waitFor((frame) => frame.id === id), { opcode: STATE_PATCH, payload: { from: 3 } })
})

t.test('live recovery: a key that cannot be read is waited for, and the log says so once', { timeout: 60_000 }, async (t) => {
  const backend = new ShakyBackend()
  const { ds } = await node(t, { stateBackend: backend })
  await ds.primitives.live.setState('k', 1)
  const reader = await node(t, { stateBackend: backend })
  const attempts = new Gate()
  let left = 3
  backend.before = () => {
    if (--left === 0) attempts.open()
    throw new Error('the disk is on fire')
  }
  const [wire, old] = [await reader.connect(), await reader.connectV1()]
  const answer = subscribe(wire, 'k')
  await t.rejects(reader.ds.primitives.live.getState('k'), { message: 'the disk is on fire' })
  await until(() => attempts.isOpen)
  t.equal(reader.logs.filter((line) => line.includes('the disk is on fire')).length, 1)
  t.strictSame(wire.received.filter(({ opcode }) => opcode === ERROR), [], 'the client is not troubled')
  backend.before = () => undefined
  t.match(await answer, { opcode: STATE_SNAPSHOT, payload: { version: 1, data: 1 } })
  await old.until(({ state }) => state.get('k') === 1)
})
