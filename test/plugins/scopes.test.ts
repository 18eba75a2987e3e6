import Fastify, { type FastifyInstance } from 'fastify'
import t from 'tap'
import datasole, { type Datasole } from '../../index.js'
import backend from '../../plugins/backend.js'
import memory from '../../plugins/memory.js'
import rateLimit from '../../plugins/rate-limit.js'
import { DatasoleServer, MemoryBackend } from '../../plugins/server.js'
import sessions from '../../plugins/sessions.js'
import { Opcode } from '../../lib/protocol/opcodes.js'
import { TrackedKeys } from '../helpers/backends.js'
import { pluginEntrances } from '../helpers/plugin-entrances.js'

for (const [entrance, start] of pluginEntrances) {
  t.test(`${entrance}: a scope keeps its keys in its own backend, and its siblings do not see them`, async (t) => {
    const [outer, inner] = [new TrackedKeys(), new TrackedKeys()]
    let game: Datasole | undefined
    let other: Datasole | undefined
    const open = await start(t, async (app) => {
      await app.register(backend, { stateBackend: outer })
      await app.register(async (scope: FastifyInstance) => {
        await scope.register(backend, { stateBackend: inner })
        game = scope.ds
        game.primitives.live.register('arena')
        game.primitives.live.createSyncChannel({ key: 'chat', direction: 'bidirectional', mode: 'json-patch', initialValue: [] })
        game.primitives.crdt.register('score', 'pn-counter')
      })
      await app.register(async (scope: FastifyInstance) => { other = scope.ds })
    })
    const wire = await open()
    await game!.primitives.live.setState('arena', { players: 1 })
    await other!.primitives.live.setState('lobby', { players: 2 })
    await game!.primitives.crdt.apply('score', { type: 'pn-counter', op: 'increment', value: 3 })
    await game!.primitives.state.setState('own', 'inner')
    await other!.primitives.state.setState('own', 'outer')
    t.strictSame(await other!.primitives.live.getState('arena'), { players: 1 }, 'a declared key is one key, whichever scope asks')
    t.equal(await game!.primitives.state.getState('own'), 'inner')
    t.equal(await other!.primitives.state.getState('own'), 'outer')
    for (const [key, value] of [['arena', { players: 1 }], ['lobby', { players: 2 }], ['chat', []]] as const) {
      t.match((await wire.ask(Opcode.SUBSCRIBE, { key })).payload, { key, data: value })
    }
    t.match((await wire.ask(Opcode.SUBSCRIBE, { key: 'score', nodeId: 'n' })).payload, { state: { value: 3 } })
    t.strictSame([...inner.written].filter((key) => /^(state|crdt):/.test(key)).sort(), ['crdt:score', 'state:arena', 'state:chat', 'state:own'])
    t.strictSame([...outer.written].filter((key) => /^(state|crdt):/.test(key)).sort(), ['state:lobby', 'state:own'])
    await t.rejects(game!.primitives.live.setState('undeclared', 1), { code: 'UNDECLARED_KEY', message: /live\.register\("undeclared"\)/ })
  })

  t.test(`${entrance}: events of a scope stay with its backend, and clients' events reach every handler`, async (t) => {
    const heard: string[] = []
    let inner: Datasole | undefined
    let root: Datasole | undefined
    const open = await start(t, async (app) => {
      root = app.ds
      root.primitives.events.on('e', ({ data }) => { heard.push(`root ${String(data)}`) })
      await app.register(async (scope: FastifyInstance) => {
        await scope.register(memory)
        inner = scope.ds
        inner.primitives.events.on('e', ({ data }) => { heard.push(`inner ${String(data)}`) })
      })
    })
    root!.primitives.events.emit('e', 1)
    inner!.primitives.events.emit('e', 2)
    t.strictSame(heard.splice(0), ['root 1', 'inner 2'])
    const wire = await open()
    wire.send(Opcode.EVENT_C2S, 0, { event: 'e', data: 3 })
    await wire.ping()
    t.strictSame(heard.sort(), ['inner 3', 'root 3'])
  })

  t.test(`${entrance}: a scope's limits are for its own methods`, async (t) => {
    const open = await start(t, async (app) => {
      app.ds.rpc.register('free', () => 1)
      await app.register(async (scope: FastifyInstance) => {
        await scope.register(rateLimit, { defaultRule: { windowMs: 60_000, maxRequests: 2 } })
        scope.ds.rpc.register('rare', () => 1)
      })
    })
    const wire = await open()
    for (let i = 0; i < 2; i++) t.equal((await wire.call('rare')).result, 1)
    t.match((await wire.call('rare')).error, { code: -32029 })
    for (let i = 0; i < 5; i++) t.equal((await wire.call('free')).result, 1)
  })

  t.test(`${entrance}: a scope's sessions are its own`, async (t) => {
    let inner: Datasole | undefined
    let root: Datasole | undefined
    await start(t, async (app) => {
      root = app.ds
      await app.register(async (scope: FastifyInstance) => {
        await scope.register(memory)
        await scope.register(sessions, { enableChangeStream: true })
        inner = scope.ds
      })
    })
    inner!.primitives.sessions.set('ann', 'page', 'game')
    root!.primitives.sessions.set('ann', 'page', 'home')
    t.equal(inner!.primitives.sessions.get('ann', 'page'), 'game')
    t.equal(root!.primitives.sessions.get('ann', 'page'), 'home')
    inner!.primitives.sessions.onChange(() => {})()
    t.throws(() => root!.primitives.sessions.onChange(() => {}), { code: 'NOT_ENABLED' })
  })
}

t.test('mistakes of registration fail at once, and name plugin and scope', async (t) => {
  const early = Fastify()
  t.teardown(() => early.close())
  await t.rejects(async () => { await early.register(memory).ready() }, /datasole\/memory/)

  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(datasole, { stateBackend: new MemoryBackend() })
  await t.rejects(async () => { await app.register(memory) }, { code: 'DUPLICATE_REGISTRATION', message: /datasole\/memory: the scope "root" already has a backend, from the options of datasole/ })

  const late = Fastify()
  t.teardown(() => late.close())
  await late.register(datasole)
  await late.ds.primitives.state.setState('k', 1)
  await t.rejects(async () => { await late.register(memory) }, { code: 'TOO_LATE', message: /datasole\/memory .*state\.setState/ })

  const ds = new DatasoleServer()
  t.teardown(() => ds.close())
  await ds.init()
  t.throws(() => ds.register(memory), { code: 'TOO_LATE' })

  const invalid = Fastify()
  t.teardown(() => invalid.close())
  await invalid.register(datasole)
  await t.rejects(async () => { await invalid.register(rateLimit, { defaultRule: { windowMs: 0, maxRequests: 1 } }) }, { code: 'INVALID_OPTION', message: /rateLimit\.defaultRule\.windowMs/ })
})
