import { deflateSync } from 'node:zlib'
import Fastify, { type FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import { number, object } from 'zod'
import datasole from '../../../index.js'
import { defineContract } from '../../../lib/contract/exports.js'
import { FrameTails, TAIL_LEASE } from '../../../lib/inspector/frame-tails.js'
import { Histogram } from '../../../lib/inspector/histogram.js'
import type { FrameRow, TailTarget } from '../../../lib/inspector/views.js'
import { encodeFrame } from '../../../lib/protocol/frame.js'
import { Opcode } from '../../../lib/protocol/opcodes.js'
import { encodeMessage } from '../../../lib/server/connection/encoding.js'
import { Datasole } from '../../../lib/server/datasole.js'
import inspector, { type InspectorOptions } from '../../../plugins/inspector.js'
import { capturedLogger } from '../../helpers/entrances.js'
import { until } from '../../helpers/until.js'
import { type Wire, connect } from '../../helpers/wire.js'
import { type Viewer, viewer } from './viewer.js'

const { EVENT_S2C, RPC_REQ, STATE_PATCH, STATE_SNAPSHOT, SUBSCRIBE, AUTH } = Opcode

interface Inspected { app: FastifyInstance, url: string, logs: string[], wire (): Promise<Wire> }

async function inspected (t: Test, options: InspectorOptions = {}, serverOptions = {}): Promise<Inspected> {
  const logs: string[] = []
  const app = Fastify({ loggerInstance: capturedLogger(logs) as never }) as unknown as FastifyInstance
  t.teardown(() => app.close())
  await app.register(datasole, { authHandler: () => ({ authenticated: true, userId: 'ann' }), ...serverOptions })
  await app.register(inspector, options)
  app.ds.rpc.register('echo', (params) => params)
  app.ds.rpc.register('whoami', (_params, { connectionId }) => connectionId)
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  return { app, url, logs, wire: async () => await connect(`${url.replace('http', 'ws')}/__ds`) }
}

const idOf = async (wire: Wire): Promise<string> => (await wire.call('whoami')).result as string

/** Frames of a tail, until they satisfy a condition. */
async function framesUntil ({ call }: Viewer, target: TailTarget, isDone: (frames: FrameRow[]) => boolean): Promise<FrameRow[]> {
  const frames: FrameRow[] = []
  let cursors = {}
  await until(async () => {
    const answer = await call('frames', { target, cursors })
    cursors = answer.cursors
    frames.push(...answer.frames)
    return isDone(frames)
  })
  return frames
}

t.test('inspector: a tail has the frames of one connection, decoded', async (t) => {
  const { url, wire } = await inspected(t)
  const [watched, other] = [await wire(), await wire()]
  const look = await viewer(t, `${url}/inspector`)
  const id = await idOf(watched)
  t.strictSame((await look.call('frames', { target: { connection: id }, cursors: {} })).frames, [], 'it begins with the first question')
  await other.call('echo', 'other')
  await watched.call('echo', { text: '<script>alert(1)</script>', long: 'x'.repeat(5000) })
  const frames = await framesUntil(look, { connection: id }, (frames) => frames.length >= 2)
  t.match(frames, [
    { seq: 1, direction: 'in', opcode: 'RPC_REQ', user: 'ann', connection: id, receivers: 1, isCut: true, text: /^\{.*<script>alert\(1\)<\/script>/ },
    { seq: 2, direction: 'out', opcode: 'RPC_RES', isCut: true, text: /"result":\{"text":"<script>/ }
  ])
  t.equal(frames[0]!.text.length, 2048)
  t.ok(frames[1]!.bytes < 500, 'its bytes are those on the wire, deflated')
  t.equal(frames.length, 2)
})

t.test('inspector: a tail of a key has its frames of all connections, a fan-out as one', async (t) => {
  const { app, url, wire } = await inspected(t)
  const wires = await Promise.all([wire(), wire(), wire()])
  await app.ds.primitives.live.setState('board', { n: 0 })
  await app.ds.primitives.live.setState('other', { n: 0 })
  const look = await viewer(t, `${url}/inspector`)
  await look.call('frames', { target: { key: 'board' }, cursors: {} })
  for (const each of wires) {
    each.send(SUBSCRIBE, 50, { key: 'board' })
    await each.nextOf(STATE_SNAPSHOT)
    each.send(SUBSCRIBE, 51, { key: 'other' })
    await each.nextOf(STATE_SNAPSHOT)
  }
  await app.ds.primitives.live.setState('other', { n: 1 })
  await app.ds.primitives.live.setState('board', { n: 1 })
  await wires[0]!.nextOf(STATE_PATCH)
  const frames = await framesUntil(look, { key: 'board' }, (frames) => frames.some(({ opcode }) => opcode === 'PATCH_COMPACT'))
  t.match(frames.map(({ opcode, receivers }) => `${opcode} ${receivers}`), [...Array.from({ length: 3 }, () => ['SUBSCRIBE 1', 'STATE_SNAPSHOT 1']).flat(), 'PATCH_COMPACT 3'])
  t.match(frames.at(-1), { text: /^\{"n":\d+,"versions":1\} \["/, direction: 'out' })
})

t.test('inspector: a value has its last commits', async (t) => {
  const { app, url } = await inspected(t)
  for (let n = 0; n < 30; n++) await app.ds.primitives.live.setState('board', { n })
  await app.ds.primitives.live.setState('large', { text: 'é'.repeat(300_000) })
  const { call } = await viewer(t, `${url}/inspector`)
  const board = await call('key', { scope: 'root', kind: 'state', key: 'board' })
  t.match(board, { isThere: true, version: 30, text: '{"n":29}', isCut: false, isLive: true, missing: [] })
  t.equal(board.commits.length, 20)
  t.strictSame(board.commits[0], { version: 30, patches: '[{"op":"replace","path":"/n","value":29}]', isCut: false })
  t.equal(board.commits.at(-1)!.version, 11)
  const large = await call('key', { scope: 'root', kind: 'state', key: 'large' })
  t.strictSame([large.text.length, large.isCut], [256 * 1024, true])
  await app.ds.primitives.live.setState('huge', { text: 'x'.repeat(5_000_000) })
  t.match(await call('key', { scope: 'root', kind: 'state', key: 'huge' }), { isThere: true, text: '', isCut: true, bytes: 5_000_011 })
  t.match(await call('key', { scope: 'root', kind: 'state', key: 'none' }), { isThere: false, commits: [] })
  for (const params of [undefined, {}, { scope: 1, kind: 'state', key: 'x' }, { scope: 'root', kind: 'state', key: {} }]) await t.rejects(call('key', params as never), { code: -32602 })
})

t.test('inspector: without allowActions it is read-only', async (t) => {
  const { app, url, wire } = await inspected(t)
  const watched = await wire()
  await app.ds.primitives.live.setState('board', 1)
  const { call } = await viewer(t, `${url}/inspector`)
  t.equal((await call('hello', undefined)).mayAct, false)
  const { epoch, version } = await call('key', { scope: 'root', kind: 'state', key: 'board' })
  const ref = { scope: 'root', kind: 'state', key: 'board', epoch, version }
  await t.rejects(call('disconnect', { id: await idOf(watched), code: 4000, reason: '' }), { code: -32003 })
  await t.rejects(call('edit', { ...ref, text: '2' }), { code: -32003 })
  await t.rejects(call('evict', ref), { code: -32003 })
  t.equal(await app.ds.primitives.live.getState('board'), 1)
  t.equal(watched.socket.readyState, 1)
})

t.test('inspector: with allowActions viewers act, and each action is logged', async (t) => {
  const { app, url, logs, wire } = await inspected(t, { allowActions: async (request) => request.headers['x-role'] === 'admin' })
  const look = await viewer(t, `${url}/inspector`)
  t.equal((await look.call('hello', undefined)).mayAct, false, 'it is decided for each viewer')
  const { call } = await viewer(t, `${url}/inspector`, { 'x-role': 'admin' })
  t.equal((await call('hello', undefined)).mayAct, true)
  const watched = await wire()
  const id = await idOf(watched)
  await t.rejects(call('disconnect', { id, code: 1005, reason: 'no' }), { code: -32602 })
  t.match(await call('disconnect', { id, code: 4000, reason: 'bye' }), { count: 1, missing: [] })
  t.match(await watched.closed, { code: 4000 })
  t.match(await call('disconnect', { id, code: 4000, reason: 'bye' }), { count: 0 })

  await app.ds.primitives.live.setState('board', { n: 1, keep: [1, 2] })
  const ref = { scope: 'root', kind: 'state', key: 'board' }
  const seen = await call('key', ref)
  t.strictSame(await call('edit', { ...ref, epoch: seen.epoch, version: seen.version, text: '{"n":2,"keep":[1,2],"__proto__":{"x":1}}' }), { changes: 2 })
  t.match(await app.ds.primitives.live.getState('board'), { n: 2, keep: [1, 2] })
  t.equal(({} as { x?: number }).x, undefined)
  for (const stale of [call('edit', { ...ref, epoch: seen.epoch, version: seen.version, text: '3' }), call('evict', { ...ref, epoch: seen.epoch, version: seen.version })]) {
    await t.rejects(stale as Promise<unknown>, { data: { code: 'CONFLICT' }, message: /has changed/ })
  }
  const now = await call('key', ref)
  const head = { ...ref, epoch: now.epoch, version: now.version }
  await t.rejects(call('edit', { ...head, text: '{' }), { code: -32602, message: /not JSON/ })
  await t.rejects(call('edit', { ...head, text: `"${'x'.repeat(256 * 1024)}"` }), { code: -32602 })
  await t.rejects(call('edit', { ...head, kind: 'crdt', text: '1' }), { code: -32602 })
  await t.rejects(call('edit', { ...head, scope: 'nowhere', text: '1' }), { code: -32602 })
  t.strictSame(await call('edit', { ...head, text: '{"n":2,"keep":[1,2],"__proto__":{"x":1}}' }), { changes: 0 })
  t.strictSame(await call('evict', head), { wasThere: true })
  t.equal(await app.ds.primitives.live.getState('board'), undefined)

  await app.ds.primitives.sessions.restore({ userId: 'bob' })
  app.ds.primitives.sessions.set('bob', 'theme', 'dark')
  await app.ds.primitives.sessions.flush('bob')
  const session = { scope: 'root', kind: 'session', key: 'bob' }
  const { epoch, version } = await call('key', session)
  t.strictSame(await call('evict', { ...session, epoch, version }), { wasThere: true })
  t.strictSame(await app.ds.primitives.sessions.restore({ userId: 'bob' }), {})

  const actions = logs.filter((line) => line.includes('a viewer acted in the inspector')).map((line) => JSON.parse(line) as object)
  t.match(actions, [{ level: 30, action: 'disconnect', connectionId: id, remoteAddress: '127.0.0.1' }, { action: 'disconnect' }, { action: 'edit', key: 'board' }, { action: 'edit' }, { action: 'evict', key: 'board' }, { action: 'evict', kind: 'session' }])
})

t.test('inspector: an action that the server refuses says why, and a change that is on its way counts', async (t) => {
  const contract = defineContract({ state: { user: object({ age: number() }) } })
  const { app, url, logs } = await inspected(t, { allowActions: true }, { contract, maxStateBytes: 1000, maxJsonDepth: 10 })
  const { call } = await viewer(t, `${url}/inspector`)
  const { live } = app.ds.primitives
  await live.setState('user', { age: 30 })
  await live.setState('any' as never, 1 as never)
  const headOf = async (key: string): Promise<Parameters<typeof call<'evict'>>[1]> => {
    const { epoch, version } = await call('key', { scope: 'root', kind: 'state', key })
    return { scope: 'root', kind: 'state', key, epoch, version }
  }
  await t.rejects(call('edit', { ...await headOf('user'), text: '{"age":"old"}' }), { code: -32000, message: /age/, data: { code: 'INVALID_VALUE' } })
  await t.rejects(call('edit', { ...await headOf('any'), text: `"${'x'.repeat(2000)}"` }), { code: -32000, message: /maxStateBytes/, data: { code: 'LIMIT_EXCEEDED' } })
  await t.rejects(call('edit', { ...await headOf('any'), text: `${'['.repeat(20)}${']'.repeat(20)}` }), { code: -32000, data: { code: 'TOO_DEEP' } })
  t.notMatch(logs.join(''), /"level":[56]0/)

  const store = Datasole.insideOf(app).core.keyspace.storages.root.state
  const { epoch, version } = await headOf('any')
  const [changed, deleted] = await Promise.allSettled([store.set('any', 2, true), store.delete('any', { epoch, version })])
  t.match([changed.status, deleted], ['fulfilled', { status: 'rejected', reason: { code: 'CONFLICT' } }], 'a deletion is compared when it is committed')
  t.equal(await live.getState('any' as never), 2)
  t.equal(await store.delete('any', { epoch, version: version + 1 }), true)
})

t.test('inspector: nothing is measured before somebody looks, and after', async (t) => {
  const { app, url, wire } = await inspected(t)
  const { core } = Datasole.insideOf(app)
  const watched = await wire()
  await watched.call('echo', 1)
  t.strictSame([core.metrics.begin(), core.metrics.tap], [0, undefined], 'no clock is read')
  const look = await viewer(t, `${url}/inspector`)
  await watched.call('echo', 1)
  t.equal(core.metrics.begin(), 0, 'a viewer that is subscribed to nothing costs nothing')
  await look.see('overview', () => true)
  await look.call('frames', { target: { key: 'x' }, cursors: {} })
  t.ok(core.metrics.begin() > 0)
  t.ok(core.metrics.tap !== undefined)
  await look.client.disconnect()
  await until(() => core.metrics.begin() === 0)
  t.equal(core.metrics.tap, undefined)
})

t.test('inspector: viewers, their subscriptions and their filters are bounded', async (t) => {
  const { url } = await inspected(t, { maxViewers: 2 })
  const look = await viewer(t, `${url}/inspector`)
  await viewer(t, `${url}/inspector`)
  await t.rejects(connect(`${url.replace('http', 'ws')}/inspector/live`), { message: /503/ })
  const refused = async (key: string): Promise<string> => await new Promise((resolve) => { look.client.subscribeState(key, () => {}, { onError: (error) => { resolve(String(error.code)) } }) })
  for (const key of ['anything', 'keys', `keys:${'x'.repeat(101)}`, 'overview:']) t.equal(await refused(key), 'FORBIDDEN', key)
  for (let i = 0; i < 16; i++) look.client.subscribeState(`keys:${i}`, () => {})
  t.equal(await refused('keys:17'), 'LIMIT_EXCEEDED')
})

t.test('inspector: wrong options are refused by name', async (t) => {
  const register = async (options: object): Promise<void> => {
    const app = Fastify()
    await app.register(datasole)
    try {
      await app.register(inspector, options)
      await app.ready()
    } finally {
      await app.close()
    }
  }
  for (const [option, value] of [['prefix', 'x'], ['prefix', ''], ['prefix', '/'], ['prefix', '/a/:id'], ['allowActions', 'yes'], ['maxViewers', 0], ['maxViewers', 1001], ['allowedOrigins', 'https://a'], ['allowedOrigins', ['nonsense']], ['colour', 1]] as const) {
    await t.rejects(register({ [option]: value }), { code: 'INVALID_OPTION', message: new RegExp(option) }, `${option}: ${String(value)}`)
  }
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(datasole)
  await app.register(inspector)
  await t.rejects(Promise.resolve(app.register(async (scope) => { await scope.register(inspector, { prefix: '/other' }) })), { code: 'DUPLICATE_REGISTRATION' })
})

t.test('inspector: a connection that is named like a member of every object is none', async (t) => {
  const { url } = await inspected(t)
  const look = await viewer(t, `${url}/inspector`)
  for (const id of ['constructor', '__proto__', 'toString']) t.strictSame(await look.call('connection', { node: '', id }), { keys: [], keyCount: 0, missing: [] }, id)
})

t.test('inspector: it loads where the router ignores slashes at the end', async (t) => {
  for (const options of [{ routerOptions: { ignoreTrailingSlash: true } }, { routerOptions: { caseSensitive: false } }, {}]) {
    const app = Fastify(options)
    t.teardown(() => app.close())
    await app.register(datasole)
    await app.register(async (ops) => {
      ops.addHook('onRequest', async (request, reply) => { if (request.headers.cookie === undefined) return await reply.code(401).send() })
      await ops.register(inspector)
    }, { prefix: '/ops' })
    const headers = { cookie: 'a=b' }
    for (const path of ['/ops/inspector', '/ops/inspector?a=/', ...options.routerOptions?.caseSensitive === false ? ['/OPS/Inspector'] : []]) {
      t.equal((await app.inject(path)).statusCode, 401, 'a hook guards it')
      const { statusCode, headers: { location } } = await app.inject({ url: path, headers })
      t.strictSame([statusCode, location], [302, 'inspector/'], `${path} ${JSON.stringify(options)}`)
    }
    for (const [path, type] of [['', /html/], ['?a', /html/], ['page.js', /javascript/], ['style.css', /css/]] as const) {
      const { statusCode, headers: { 'content-type': found } } = await app.inject({ url: `/ops/inspector/${path}`, headers })
      t.match([statusCode, found], [200, type], path)
    }
  }
})

t.test('inspector: a tail is a ring, for as long as somebody asks', (t) => {
  const tails = new FrameTails(() => 'ann', () => [])
  const target = { connection: 'c' }
  const frame = (n: number): Buffer => Buffer.from(encodeFrame(RPC_REQ, n, Buffer.from(`{"n":${n}}`)))
  tails.ask(target, 0, 0)
  for (let n = 1; n <= 700; n++) tails.received({ id: 'c' }, frame(n), 10)
  let after = 0
  const seen: number[] = []
  for (let i = 0; i < 10; i++) {
    const { frames, next, lost } = tails.ask(target, after, 1000)
    t.ok(frames.length <= 100)
    t.equal(lost, 0, 'those before the first look are not missed')
    seen.push(...frames.map(({ id }) => id))
    after = next
  }
  t.strictSame([seen.length, seen[0], seen.at(-1)], [500, 201, 700])
  for (let n = 701; n <= 1300; n++) tails.received({ id: 'c' }, frame(n), 10)
  t.equal(tails.ask(target, after, 1000).lost, 100, 'between two looks they are counted')
  for (let i = 0; i < 30; i++) tails.ask({ key: `k${i}` }, 0, 1000)
  t.equal(tails.size, 20)
  tails.expire(1000 + TAIL_LEASE + 1)
  t.equal(tails.size, 0)
  t.strictSame(tails.ask(target, 1300, 9000), { frames: [], next: 0, lost: 0 }, 'a cursor of a tail that has ended begins anew')
  t.end()
})

t.test('inspector: what a tail shows of hostile and large frames is bounded', (t) => {
  const tails = new FrameTails(() => '', () => [])
  tails.ask({ connection: 'c' }, 0)
  tails.received({ id: 'c' }, Buffer.from(encodeFrame(AUTH, 1, Buffer.from('{"token":"secret"}'))), 30)
  tails.received({ id: 'c' }, Buffer.from(encodeFrame(0x42, 0, Buffer.from([0xff, 0xfe]))), 20)
  // a compact frame only a server sends: numbers without an end
  tails.received({ id: 'c' }, Buffer.from(encodeFrame(0x17, 0xffffffff, Buffer.alloc(20, 0xff))), 30)
  tails.sent({ id: 'c' }, Buffer.from([0x89, 0x00]))
  tails.sent({ id: 'c' }, Buffer.from([0x82, 0x03, 0x78, 0x01, 0x00]))
  const bomb = deflateSync(Buffer.from(encodeFrame(EVENT_S2C, 0, Buffer.alloc(60 * 1024 * 1024, 0x20))))
  tails.sent({ id: 'c' }, Buffer.concat([Buffer.from([0x82, 127, 0, 0, 0, 0, 0, 0, 0, 0]), bomb]))
  const { frames } = tails.ask({ connection: 'c' }, 0)
  t.notMatch(JSON.stringify(frames), /secret/)
  t.match(frames.slice(0, 2), [{ opcode: 'AUTH' }, { opcode: '0x42', text: '\ufffd\ufffd' }])
  t.match(frames[2], { opcode: 'PATCH_COMPACT', id: 0xffffffff })
  t.match(frames[3], { opcode: 'EVENT_S2C', isCut: true }, 'the beginning of what inflates to much')
  t.strictSame([frames.length, frames.every(({ text }) => text.length <= 2048)], [4, true])
  const many = new FrameTails(() => '', () => [])
  many.ask({ key: 'k' }, 0)
  for (let i = 0; i < 5000; i++) many.sent({ id: 'c' }, encodeMessage(STATE_PATCH, 0, `{"key":"k","n":${i}}`, 1024))
  t.ok(many.ask({ key: 'k' }, 0).lost >= 1000, 'beyond 2,000 in a second they are only counted')
  t.end()
})

t.test('inspector: quantiles of a histogram are close, and those of several add up', (t) => {
  const [all, odd, even] = [new Histogram(), new Histogram(), new Histogram()]
  for (let i = 1; i <= 10_000; i++) {
    all.observe(i / 100)
    ;(i % 2 === 0 ? even : odd).observe(i / 100)
  }
  const { p50, p99, max, count } = all.quantiles()
  t.ok(p50 >= 50 && p50 < 55 && p99 >= 99 && p99 <= 100 && max === 100 && count === 10_000, JSON.stringify({ p50, p99, max, count }))
  const merged = new Histogram()
  for (const part of [odd, even]) merged.merge(part.pairs(), part.sum, part.max)
  t.strictSame(merged.quantiles(), all.quantiles())
  t.strictSame(all.take().count, 10_000)
  t.strictSame(all.quantiles(), { count: 0, p50: 0, p99: 0, max: 0 })
  all.observe(0)
  all.observe(1e9)
  t.strictSame([all.quantiles().p50, all.quantiles().max], [0.001, 1e9])
  t.end()
})
