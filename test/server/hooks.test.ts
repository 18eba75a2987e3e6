import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { inspect } from 'node:util'
import Fastify, { type FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import t from 'tap'
import datasole from '../../index.js'
import type { ConnectionContext } from '../../plugins/server.js'
import type { Datasole } from '../../lib/server/datasole.js'
import { Opcode } from '../../lib/protocol/opcodes.js'
import { Gate } from '../helpers/backends.js'
import { capturedLogger, entrances } from '../helpers/entrances.js'
import { connect as connectTo, refusal } from '../helpers/wire.js'
import { until } from '../helpers/until.js'

const { SUBSCRIBE, STATE_SNAPSHOT, EVENT_C2S, ERROR } = Opcode

for (const [entrance, start] of entrances) {
  t.test(`hooks, ${entrance}`, async (t) => {
    t.test('hooks run in order, and one that throws keeps the rest and the handler from running', async (t) => {
      const { ds, connect } = await start(t)
      const ran: string[] = []
      ds.addHook('preRpc', async (ctx, { method, params }) => { await null; ran.push(`first ${method} ${JSON.stringify(params)} ${ctx.connection.connectionId === ctx.connectionId}`) })
      ds.addHook('preRpc', (_ctx, { params }) => { ran.push('second'); if (params === 'no') throw new Error('no entry') })
      ds.addHook('preRpc', async (_ctx, { params }) => { ran.push('third'); if (params === 'code') throw Object.assign(new Error('paid users only'), { code: 402, data: { price: 1 } }) })
      ds.rpc.register('m', () => { ran.push('handler'); return 'done' })
      const wire = await connect()
      t.equal((await wire.call('m', 'yes')).result, 'done')
      t.strictSame(ran.splice(0), ['first m "yes" true', 'second', 'third', 'handler'])
      t.match((await wire.call('m', 'no')).error, { code: -32003, message: 'no entry', data: { code: 'FORBIDDEN' } })
      t.strictSame(ran.splice(0), ['first m "no" true', 'second'])
      t.strictSame((await wire.call('m', 'code')).error, { code: 402, message: 'paid users only', data: { price: 1 } })
      t.notOk(ran.includes('handler'))
    })

    t.test('a hook that is added later applies from then on', async (t) => {
      const { ds, connect } = await start(t)
      const wire = await connect()
      t.equal((await wire.call('echo', 1)).result, 1)
      ds.addHook('preRpc', () => { throw new Error('closed') })
      t.match((await wire.call('echo', 1)).error, { message: 'closed' })
    })

    t.test('hooks see what is sent, and cannot be fooled by it', async (t) => {
      const { ds, connect } = await start(t)
      ds.addHook('preRpc', (_ctx, { params }) => { if ((params as { admin?: boolean }).admin === true) throw new Error('no') })
      const wire = await connect()
      t.match((await wire.call('echo', { admin: true })).error, { code: -32003 })
      t.strictSame((await wire.call('echo', JSON.parse('{"__proto__":{"admin":true}}'))).result, JSON.parse('{"__proto__":{"admin":true}}'))
    })

    t.test('onConnect refuses before there is a connection, onDisconnect runs once for each that was let in', async (t) => {
      const { ds, connect, url } = await start(t, { authHandler: (req) => ({ authenticated: true, userId: req.headers.authorization ?? 'nobody' }) })
      const seen: string[] = []
      ds.addHook('onConnect', async (connection) => { await null; seen.push(`+${connection.userId}`); if (connection.userId === 'Bearer eve') throw new Error('banned') })
      ds.addHook('onConnect', (connection) => { connection.set('since', 1); connection.tags.add('all') })
      const left = new Promise<ConnectionContext>((resolve) => { ds.addHook('onDisconnect', (connection, code) => { seen.push(`-${connection.userId} ${code} ${connection.get('since')}`); resolve(connection) }) })
      ds.addHook('onDisconnect', () => { throw new Error('logged only') })
      const wire = await connect({ headers: { authorization: 'Bearer ann' } })
      const { status, body } = await refusal(url, { headers: { authorization: 'Bearer eve' } })
      t.equal(status, 403)
      t.notMatch(body, /banned/)
      ds.primitives.fanout.broadcast('hi', 1, { to: { tag: 'all' } })
      await wire.nextOf(Opcode.EVENT_S2C)
      wire.socket.close(4321)
      await left
      await wire.closed
      t.strictSame(seen, ['+Bearer ann', '+Bearer eve', '-Bearer ann 4321 1'])
      t.equal(ds.transport.getConnectionCount(), 0)
    })

    t.test('what a hook logs of its connection has no options of the server', async (t) => {
      const { ds, connect } = await start(t, { backendConfig: { type: 'memory', redis: { url: 'redis://:secret@127.0.0.1' } } })
      const logged: string[] = []
      const log = (about: object): void => { logged.push(JSON.stringify(about), inspect(about, { depth: 9 })) }
      ds.addHook('onConnect', log)
      ds.addHook('preRpc', log)
      await (await connect()).call('echo')
      t.equal(logged.length, 4)
      t.notOk(logged.some((text) => text.includes('secret')))
    })

    t.test('a client that goes while onConnect decides was let in all the same', async (t) => {
      const { ds, url } = await start(t)
      const gate = new Gate()
      let disconnects = 0
      ds.addHook('onConnect', () => gate.pass())
      const left = new Promise<void>((resolve) => { ds.addHook('onDisconnect', () => { disconnects++; resolve() }) })
      const connecting = connectTo(url).catch(() => undefined)
      await gate.arrival()
      // nobody is there any more by the time it may enter
      const { WebSocket } = await import('ws')
      const socket = new WebSocket(url, ['datasole.v2'])
      socket.on('error', () => {})
      await new Promise(setImmediate)
      socket.terminate()
      gate.open()
      const wire = await connecting
      wire?.socket.terminate()
      await left
      t.ok(disconnects >= 1)
      t.equal(ds.transport.getConnectionCount(), 0)
    })

    t.test('preSubscribe guards keys, for version 1 clients too', async (t) => {
      const { ds, connect, connectV1 } = await start(t)
      const { live } = ds.primitives
      const asked: string[] = []
      ds.addHook('preSubscribe', async (ctx, { key }) => {
        asked.push(`${ctx.connection.protocol} ${key}`)
        if (key.startsWith('secret')) throw new Error(`not ${key}`)
      })
      await live.setState('secret', 1)
      await live.setState('open', { pad: 'x'.repeat(100) })
      const wire = await connect()
      t.match(await wire.ask(SUBSCRIBE, { key: 'secret' }), { opcode: ERROR, payload: { code: 'FORBIDDEN', message: 'not secret', key: 'secret' } })
      t.match(await wire.ask(SUBSCRIBE, { key: 'open' }), { opcode: STATE_SNAPSHOT })
      const old = await connectV1()
      await old.until(({ state }) => state.has('open'))
      await live.setState('secret late', 1)
      await live.setState('open late', 1)
      await old.until(({ state }) => state.has('open late'))
      await live.setState('secret', 2)
      await old.call('echo')
      await wire.ping()
      t.strictSame([...old.state.keys()].sort(), ['open', 'open late'])
      t.strictSame(wire.received.filter(({ opcode }) => opcode === STATE_SNAPSHOT || opcode === Opcode.STATE_PATCH), [])
      t.strictSame(asked.sort(), ['1 open', '1 open late', '1 secret', '1 secret late', '3 open', '3 secret'])
    })

    t.test('a preSubscribe that fails is asked again for those who cannot ask: version 1 clients, and subscriptions whose key changes hands', async (t) => {
      const { ds, connect, connectV1 } = await start(t)
      const scope = ds.derive()
      let isAway = true
      const asked: string[] = []
      const guard = (ctx: { connection: ConnectionContext }, { key }: { key: string }): void => {
        asked.push(`${ctx.connection.protocol} ${key}`)
        if (isAway) throw Object.assign(new Error('the database is away'), { code: 'ECONNREFUSED' })
      }
      await ds.primitives.live.setState('k', 1)
      const wire = await connect()
      t.match(await wire.ask(SUBSCRIBE, { key: 'k' }), { opcode: STATE_SNAPSHOT })
      const old = await connectV1()
      await old.until(({ state }) => state.has('k'))
      scope.addHook('preSubscribe', guard)
      scope.primitives.live.register('k')
      const late = await connectV1()
      await late.call('echo')
      t.notOk(late.state.has('k'))
      await until(() => new Set(asked).size >= 2)
      isAway = false
      await ds.primitives.live.setState('k', 2)
      t.match(await wire.nextOf(STATE_SNAPSHOT), { payload: { data: 2 } })
      await Promise.all([old, late].map((client) => client.until(({ state }) => state.get('k') === 2)))
      t.strictSame(wire.received.filter(({ opcode }) => opcode === ERROR), [])
    })

    t.test('a client that leaves while preSubscribe decides is forgotten', async (t) => {
      const { ds, connect } = await start(t)
      const gate = new Gate()
      ds.addHook('preSubscribe', () => gate.pass())
      const wire = await connect()
      wire.send(SUBSCRIBE, 1, { key: 'k' })
      await gate.arrival()
      wire.send(Opcode.UNSUBSCRIBE, 0, { key: 'k' })
      await wire.ping()
      gate.open()
      await ds.primitives.live.setState('k', 1)
      await wire.ping()
      t.strictSame(wire.received.map(({ opcode }) => opcode), [Opcode.WELCOME])
    })

    t.test('a second SUBSCRIBE is not answered before its hook has decided', async (t) => {
      const { ds, connect } = await start(t)
      const { live } = ds.primitives
      const gate = new Gate()
      let runs = 0
      ds.addHook('preSubscribe', async () => {
        if (++runs === 1) return
        await gate.pass()
        throw new Error('no longer')
      })
      await live.setState('k', 1)
      const wire = await connect()
      t.match(await wire.ask(SUBSCRIBE, { key: 'k' }), { opcode: STATE_SNAPSHOT })
      wire.send(SUBSCRIBE, 9, { key: 'k' })
      await gate.arrival()
      await live.setState('k', 2)
      await wire.ping()
      gate.open()
      t.match(await wire.nextOf(ERROR), { id: 9, payload: { code: 'FORBIDDEN', message: 'no longer', key: 'k' } })
      t.notOk(wire.received.some(({ id, opcode }) => id === 9 || opcode === STATE_SNAPSHOT || opcode === Opcode.STATE_PATCH), 'nothing of the key went out meanwhile')
    })

    t.test('a wrong name or no function is refused', async (t) => {
      const { ds } = await start(t)
      t.throws(() => ds.addHook('preFlight' as never, (() => {}) as never), { message: /preFlight.*onConnect/ })
      t.throws(() => ds.addHook('preRpc', undefined as never), TypeError)
      t.equal(ds.addHook('preRpc', () => {}), ds)
    })
  })
}

/** Whatever contract the examples have registered. */
function of (scope: FastifyInstance): Datasole {
  return scope.ds as unknown as Datasole
}

t.test('under Fastify, hooks belong to their scope', async (t) => {
  const app: FastifyInstance = Fastify({ loggerInstance: capturedLogger([]) as never }) as never
  await app.register(datasole)
  const ds = of(app)
  const ran: string[] = []
  const hook = (name: string) => (): void => { ran.push(name) }
  ds.addHook('preRpc', hook('root'))
  ds.addHook('preEvent', hook('root'))
  ds.addHook('preSubscribe', hook('root'))
  ds.rpc.register('root', () => 1)
  ds.primitives.events.on('e', () => { ran.push('root handler') })
  let inner: Datasole | undefined
  await app.register(async (child) => {
    t.not(child.ds, app.ds)
    child.ds.addHook('preRpc', hook('child'))
    child.ds.addHook('preEvent', hook('child'))
    child.ds.addHook('preSubscribe', hook('child'))
    of(child).rpc.register('child', () => 1)
    of(child).primitives.events.on('e', () => { ran.push('child handler') })
    of(child).primitives.live.register('child key')
    child.ds.addHook('onConnect', hook('connect'))
    await child.register(async (grandchild) => {
      inner = grandchild.ds as Datasole
      grandchild.ds.addHook('preRpc', hook('grandchild'))
      of(grandchild).rpc.register('grandchild', () => 1)
    })
    await child.register(fp(async (same) => {
      t.equal(same.ds, child.ds, 'fastify-plugin shares its parent\'s')
      same.ds.addHook('preRpc', hook('shared'))
      of(same).rpc.register('shared', () => 1)
    }))
  })
  await app.register(async (sibling) => {
    sibling.ds.addHook('preRpc', hook('sibling'))
    of(sibling).rpc.register('sibling', () => 1)
    t.throws(() => of(sibling).rpc.register('child', () => 1), { code: 'DUPLICATE_METHOD' }, 'names are one space')
    t.throws(() => { of(sibling).primitives.live.register('child key') }, { code: 'DUPLICATE_KEY' })
  })
  await app.listen({ port: 0, host: '127.0.0.1' })
  t.teardown(() => app.close())
  const wire = await connectTo(`ws://127.0.0.1:${(app.server.address() as AddressInfo).port}/__ds`)
  t.strictSame(ran.splice(0), ['connect'], 'onConnect is global, whoever adds it')
  const expected: Record<string, string[]> = {
    root: ['root'],
    child: ['root', 'child', 'shared'],
    grandchild: ['root', 'child', 'shared', 'grandchild'],
    shared: ['root', 'child', 'shared'],
    sibling: ['root', 'sibling']
  }
  for (const [method, hooks] of Object.entries(expected)) {
    await wire.call(method)
    t.strictSame(ran.splice(0), hooks, method)
    await inner!.rpc.call(method, null)
    t.strictSame(ran.splice(0), hooks, `${method}, called in process from another scope`)
  }
  wire.send(EVENT_C2S, 0, { event: 'e' })
  await wire.ping()
  t.strictSame(ran.splice(0), ['root', 'root handler', 'child', 'child handler'])
  await wire.ask(SUBSCRIBE, { key: 'any key' })
  t.strictSame(ran.splice(0), ['root'])
  await wire.ask(SUBSCRIBE, { key: 'child key' })
  t.strictSame(ran.splice(0), ['root', 'child'])
  const closed = once(wire.socket, 'close')
  await app.close()
  t.equal((await closed)[0], 1001)
})

t.test('an event with handlers in several scopes: the hooks that they share run once, and refuse once', async (t) => {
  const app = Fastify({ loggerInstance: capturedLogger([]) as never }) as unknown as FastifyInstance
  t.teardown(() => app.close())
  await app.register(datasole as never)
  const ran: string[] = []
  const hookOf = (name: string) => (_ctx: unknown, { data }: { data: unknown }): Promise<void> | undefined => {
    ran.push(name)
    if (data === `${name} throws`) throw new Error(data as string)
    if (data === `${name} rejects`) return Promise.reject(new Error(data as string))
    return data === 'async' ? Promise.resolve() : undefined
  }
  const handle = (ds: Datasole, name: string): void => { ds.primitives.events.on('e', () => { ran.push(`${name} handler`) }) }
  of(app).addHook('preEvent', hookOf('root'))
  handle(of(app), 'root')
  for (const name of ['a', 'b']) {
    await app.register(async (scope) => {
      of(scope).addHook('preEvent', hookOf(name))
      handle(of(scope), name)
    })
  }
  await app.listen({ port: 0, host: '127.0.0.1' })
  const wire = await connectTo(`ws://127.0.0.1:${(app.server.address() as AddressInfo).port}/__ds`)
  t.teardown(() => { wire.socket.terminate() })
  await wire.nextOf(Opcode.WELCOME)
  const all = ['root', 'root handler', 'a', 'a handler', 'b', 'b handler']
  for (const [data, expected] of [
    ['sync', all], ['async', all],
    ['root throws', ['root']], ['root rejects', ['root']],
    ['a throws', all.filter((each) => each !== 'a handler')], ['a rejects', all.filter((each) => each !== 'a handler')]
  ] as Array<[string, string[]]>) {
    wire.send(EVENT_C2S, 7, { event: 'e', data })
    await wire.ping()
    await wire.ping()
    t.strictSame(ran.splice(0).sort(), [...expected].sort(), data)
    const errors = wire.received.splice(0).filter(({ opcode }) => opcode === ERROR)
    t.strictSame(errors.map(({ payload }) => payload.message), data.length > 5 ? [data] : [], data)
  }
})

t.test('who waits for a key that a scope declares later goes by its hooks', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(datasole, { rateLimit: false })
  let inner!: Datasole
  await app.register(async (child) => {
    inner = child.ds
    inner.addHook('preSubscribe', async (ctx) => { if (ctx.connection.protocol === 1 || !ctx.connection.tags.has('member')) throw new Error('members only') })
  })
  app.ds.addHook('onConnect', (ctx) => { if (isMember) ctx.tags.add('member') })
  let isMember = true
  await app.listen({ port: 0, host: '127.0.0.1' })
  const url = `ws://127.0.0.1:${(app.server.address() as AddressInfo).port}/__ds`
  const member = await connectTo(url)
  isMember = false
  const other = await connectTo(url)
  t.teardown(() => { for (const { socket } of [member, other]) socket.terminate() })
  const declare: Record<string, () => unknown> = {
    shared: () => inner.primitives.live.createSyncChannel({ key: 'shared', direction: 'bidirectional', mode: 'json-patch', initialValue: 'secret' }),
    own: () => inner.primitives.live.createSyncChannel({ key: 'own', direction: 'client-to-server', mode: 'json-patch', initialValue: 'secret' }),
    plain: () => {
      inner.primitives.live.register('plain')
      return inner.primitives.live.setState('plain', 'secret')
    }
  }
  for (const [key, make] of Object.entries(declare)) {
    for (const wire of [member, other]) t.match(await wire.ask(Opcode.SUBSCRIBE, { key }), { payload: { version: 0 } })
    await make()
    await member.waitFor(({ opcode, payload }) => opcode === Opcode.STATE_SNAPSHOT && payload.key === key && payload.data === 'secret')
    await other.ping()
    t.match(await other.nextOf(Opcode.ERROR), { id: 0, payload: { code: 'FORBIDDEN', key } })
  }
  t.notMatch(JSON.stringify(other.received), /secret/)
})

t.test('hooks: a second registration in one scope, or below it, fails the start', async (t) => {
  const app: FastifyInstance = Fastify({ loggerInstance: capturedLogger([]) as never }) as never
  await app.register(datasole)
  void app.register(async (child) => { await child.register(datasole) })
  await t.rejects(Promise.resolve(app.ready()), { code: 'DUPLICATE_REGISTRATION' })
  await app.close()
})
