import { existsSync, readFileSync } from 'node:fs'
import t from 'tap'
import type { Datasole as Root } from '../../index.js'
import type { FastifyRequest } from 'fastify'
import { type AuthResult, type ConnectionContext, DatasoleServer, type DatasoleServerOptions, DefaultRateLimiter, MemoryBackend, type MessageContext, type EventData, type Operation, type RateLimitResult, type RateLimiter, type RpcContext, RpcError, type RpcParams, type RpcResult, type StateValue, type SyncChannel, type Unsubscribe, type WorkerDatasole, getToken } from '../../plugins/server.js'

/** Compiles only where both are the same type. */
type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends (<T>() => T extends B ? 1 : 2) ? true : false
function same<A, B> (_isSame: Same<A, B>): void {}

/** The same for a value. */
function is<B> (): <A>(_value: A, _isSame: Same<A, B>) => void { return () => {} }

enum Method { Add = 'add', Who = 'who' }
enum Channel { Chat = 'chat' }
enum Key { Board = 'board', List = 'list' }

interface Board { visitors: number, note?: string }

/** As users write it: an interface without an index signature, keyed by string enums. */
interface AppContract {
  rpc: {
    [Method.Add]: { params: { a: number, b: number }, result: number }
    [Method.Who]: { params: undefined, result: { name: string } }
    plain: { params: string, result: string[] }
  }
  events: { [Channel.Chat]: { text: string }, tick: number }
  state: { [Key.Board]: Board, [Key.List]: string[] }
}

/** The same as a type, in part: what it leaves out is open. */
type Partly = { rpc: { add: { params: number, result: number } } }

// What follows is compiled and never run: every line marked as an error must be one.

/** The auth handler gets Fastify's request, which is not always there; the error handler what it needs to decide. */
export const options: DatasoleServerOptions = {
  authHandler: async (req, request) => {
    is<FastifyRequest | undefined>()(request, true)
    // @ts-expect-error -- not where a new token is checked
    request.id.slice()
    return { authenticated: req.url === request?.url }
  },
  errorHandler: (error, { source, method, id, connection }) => {
    if (source === 'rpc' && method === 'add') return new RpcError(1, `${String(error)} ${id} ${connection.userId}`)
  }
}
// @ts-expect-error -- it is synchronous
export const asynchronous: DatasoleServerOptions = { errorHandler: async () => new RpcError(1, '') }

/** Every facade leads to its server, as what it is. */
export function siblings (ds: DatasoleServer<AppContract>, root: Root<AppContract>): void {
  const { live, state, events, fanout, rateLimiter, sessions, crdt } = ds.primitives
  const facades = [live, state, events, fanout, rateLimiter, sessions, crdt, ds.rpc, ds.transport]
  const servers: DatasoleServer<AppContract>[] = facades.map(({ server }) => server)
  const general: Root<AppContract>[] = servers
  same<typeof root.primitives.live.server, Root<AppContract>>(true)
  // @ts-expect-error the plugin's is no DatasoleServer
  const own: DatasoleServer<AppContract> = root.primitives.live.server
  void [general, own]
}

/** In threads as on the main thread. */
export async function inWorker ({ primitives: { live, state } }: WorkerDatasole<AppContract>): Promise<void> {
  await live.update('board', (draft) => { same<typeof draft, Board | undefined>(true); return draft ?? { visitors: 0 } })
  await state.update('board', (draft) => { same<typeof draft, Board | undefined>(true) })
}

export async function ofContract (ds: DatasoleServer<AppContract>): Promise<void> {
  ds.rpc.register(Method.Add, ({ a, b }, ctx) => {
    same<typeof a, number>(true)
    same<typeof ctx, RpcContext>(true)
    same<typeof ctx.connection, ConnectionContext>(true)
    same<typeof ctx.auth, AuthResult | undefined>(true)
    same<typeof ctx.connection.auth, AuthResult>(true)
    same<typeof ctx.connection.userId, string | undefined>(true)
    same<typeof ctx.connection.roles, string[]>(true)
    same<typeof ctx.connection.metadata, Record<string, unknown>>(true)
    same<AuthResult['expiresAt'], number | undefined>(true)
    // @ts-expect-error only the auth handler says who is there
    ctx.connection.auth = { authenticated: true }
    return a + b
  })
  ds.rpc.register('add', async (params) => { same<typeof params, { a: number, b: number }>(true); return 1 })
  ds.rpc.register('plain', { schema: { params: { type: 'string' } }, timeoutMs: 5 }, (params) => { same<typeof params, string>(true); return [params] })
  // @ts-expect-error not a method
  ds.rpc.register('subtract', () => 1)
  // @ts-expect-error the result is no number
  ds.rpc.register(Method.Add, () => 'text')
  // @ts-expect-error nor what it resolves to
  ds.rpc.register(Method.Add, async () => 'text')
  // @ts-expect-error the parameter has no c
  ds.rpc.register(Method.Add, ({ c }) => c)
  // @ts-expect-error no such option
  ds.rpc.register('plain', { schemas: {} }, () => [])

  const sum = await ds.rpc.call('add', { a: 1, b: 2 })
  is<number>()(sum, true)
  const who = await ds.rpc.call(Method.Who, undefined, { auth: { authenticated: true, userId: 'ann' } })
  is<{ name: string }>()(who, true)
  // @ts-expect-error b is missing
  await ds.rpc.call('add', { a: 1 })

  ds.primitives.events.on(Channel.Chat, ({ event, data, timestamp }, connection) => {
    same<typeof event, string>(true)
    same<typeof data, { text: string }>(true)
    same<typeof timestamp, number>(true)
    same<typeof connection, ConnectionContext | undefined>(true)
  })
  ds.primitives.events.on('tick', async ({ data }) => { same<typeof data, number>(true) })
  ds.primitives.events.emit('tick', 1)
  ds.primitives.fanout.broadcast(Channel.Chat, { text: 'hi' }, { to: { user: 'ann', tag: ['a', 'b'] }, except: { connection: 'c' } })
  // @ts-expect-error not an event
  ds.primitives.events.on('tock', () => {})
  // @ts-expect-error a number
  ds.primitives.events.emit('tick', 'x')
  // @ts-expect-error text is missing
  ds.primitives.fanout.broadcast(Channel.Chat, {})
  // @ts-expect-error no such selector
  ds.primitives.fanout.broadcast('tick', 1, { to: { role: 'admin' } })

  const patches = await ds.primitives.live.setState(Key.Board, { visitors: 1 })
  is<Operation[]>()(patches, true)
  await ds.primitives.live.update('board', (draft) => { same<typeof draft, Board | undefined>(true); draft!.visitors++ })
  await ds.primitives.state.update('board', (draft) => { same<typeof draft, Board | undefined>(true); return { visitors: 1 } })
  // @ts-expect-error the key may have no value
  await ds.primitives.live.update('board', (draft) => { draft.visitors++ })
  await ds.primitives.live.update(Key.List, () => ['a new root'])
  const board = await ds.primitives.live.getState('board')
  is<Board | undefined>()(board, true)
  const isGone = await ds.primitives.live.deleteState('board')
  is<boolean>()(isGone, true)
  // @ts-expect-error not a key
  await ds.primitives.live.setState('bored', { visitors: 1 })
  // @ts-expect-error not its value
  await ds.primitives.live.setState('board', { visitors: 'many' })
  // @ts-expect-error not its value either
  await ds.primitives.live.update('list', () => [1])
  // @ts-expect-error an asynchronous recipe
  await ds.primitives.live.update('board', async (draft) => { draft.visitors++ })

  const channel = ds.primitives.live.createSyncChannel({
    key: Key.Board,
    direction: 'bidirectional',
    mode: 'json-patch',
    flush: { flushStrategy: 'batched', batchIntervalMs: 200, maxBatchSize: 50 },
    initialValue: { visitors: 0 },
    validate: (value, ctx) => { same<typeof value, Board>(true); same<typeof ctx, MessageContext>(true); return value.visitors > 0 }
  })
  same<typeof channel, SyncChannel<Board>>(true)
  channel.onFlush((value, patches, connection) => {
    same<typeof value, Board | undefined>(true)
    same<typeof patches, Operation[]>(true)
    same<typeof connection, ConnectionContext | null>(true)
  })
  await channel.set({ visitors: 1 })
  await channel.update((draft) => { same<typeof draft, Board>(true); draft.visitors++ })
  is<Board | undefined>()(await channel.get(), true)
  is<SyncChannel<string[], string[] | undefined> | undefined>()(ds.primitives.live.getSyncChannel('list'), true)
  const open = ds.primitives.live.createSyncChannel({ key: Key.List, direction: 'bidirectional', mode: 'json-patch' })
  await open.update((draft) => { same<typeof draft, string[] | undefined>(true); return ['first'] })
  // @ts-expect-error not its value
  await channel.set({ visitors: 'many' })
  // @ts-expect-error an asynchronous recipe
  await channel.update(async (draft) => { draft.visitors++ })
  // @ts-expect-error not a key
  ds.primitives.live.createSyncChannel({ key: 'bored', direction: 'bidirectional', mode: 'snapshot' })
  // @ts-expect-error not its value
  ds.primitives.live.createSyncChannel({ key: 'board', direction: 'bidirectional', mode: 'snapshot', initialValue: 'text' })
  // @ts-expect-error no such direction
  ds.primitives.live.createSyncChannel({ key: 'board', direction: 'up', mode: 'snapshot' })
  // @ts-expect-error an option of another strategy
  ds.primitives.live.createSyncChannel({ key: 'board', direction: 'bidirectional', mode: 'snapshot', flush: { flushStrategy: 'immediate', debounceMs: 5 } })

  await ds.primitives.state.setState('anything of the server\'s own', new Date())
  // @ts-expect-error a key of the contract keeps its type
  await ds.primitives.state.setState('board', 'text')

  const page = ds.primitives.sessions.get<string>('ann', 'lastPage')
  is<string | undefined>()(page, true)
  const anything = ds.primitives.sessions.get('ann', 'lastPage')
  is<unknown>()(anything, true)
  const session = await ds.primitives.sessions.restore<{ cart: string[] }>({ userId: 'ann' })
  is<string[] | undefined>()(session.cart, true)
  const isDeleted = ds.primitives.sessions.delete('ann', 'lastPage')
  is<boolean>()(isDeleted, true)
  const end = ds.primitives.sessions.onChange((userId, key, value, version) => {
    is<string>()(userId, true)
    is<string>()(key, true)
    is<unknown>()(value, true)
    is<number>()(version, true)
  })
  is<Unsubscribe>()(end, true)
  ds.rpc.register('plain', async (_params, ctx) => Object.keys(await ds.primitives.sessions.restore(ctx.connection)))
  // @ts-expect-error sessions belong to users
  ds.primitives.sessions.set(undefined, 'lastPage', '/')
  // @ts-expect-error no connection
  await ds.primitives.sessions.restore('ann')

  ds.addHook('preRpc', async (ctx, { method, params }) => { same<typeof ctx, RpcContext>(true); same<typeof method, string>(true); same<typeof params, unknown>(true) })
  ds.addHook('onDisconnect', (connection, code) => { same<typeof connection, ConnectionContext>(true); same<typeof code, number>(true) })
  // @ts-expect-error no such hook
  ds.addHook('preFlight', () => {})

  const rule = { windowMs: 1000, maxRequests: 5 }
  const verdict = await ds.primitives.rateLimiter.consume('key', rule, 2)
  is<RateLimitResult>()(verdict, true)
  const check = await ds.primitives.rateLimiter.check('key', rule)
  is<RateLimitResult>()(check, true)
  await ds.primitives.rateLimiter.reset('key')
  same<typeof ds.primitives.rateLimiter.server, DatasoleServer<AppContract>>(true)
  // @ts-expect-error a rule has both
  await ds.primitives.rateLimiter.consume('key', { windowMs: 1000 })
  // @ts-expect-error checking costs nothing
  await ds.primitives.rateLimiter.check('key', rule, 1)

  same<typeof ds.rpc.server, DatasoleServer<AppContract>>(true)
  const root: Root<AppContract> = ds
  root.disconnectUser('ann', { code: 4000 })
}

/** Names behind the key, as the contract has them. */
interface Composed {
  rpc: { 'board.move': { params: { to: number }, result: boolean }, other: { params: undefined, result: number } }
  events: { 'board.moved': { by: string } }
  state: { board: Board }
}

export function ofDataChannel (ds: DatasoleServer<Composed>): void {
  const board = ds.primitives.live.createDataChannel({
    key: 'board',
    state: { direction: 'server-to-client', mode: 'json-patch', initialValue: { visitors: 0 } },
    rpc: { move: ({ to }, ctx) => { same<typeof to, number>(true); same<typeof ctx, RpcContext>(true); return to > 0 } },
    events: { moved: ({ data }) => { same<typeof data, { by: string }>(true) } }
  })
  is<SyncChannel<Board, Board | undefined> | undefined>()(board.state, true)
  board.broadcast('moved', { by: 'ann' })
  // @ts-expect-error by is missing
  board.broadcast('moved', {})
  // @ts-expect-error no such event
  board.emit('removed', { by: 'ann' })
  // @ts-expect-error no such method
  ds.primitives.live.createDataChannel({ key: 'board', rpc: { remove: () => true } })
  // @ts-expect-error not its result
  ds.primitives.live.createDataChannel({ key: 'board', rpc: { move: () => 'text' } })
  // @ts-expect-error not its value
  ds.primitives.live.createDataChannel({ key: 'board', state: { direction: 'bidirectional', mode: 'snapshot', initialValue: 5 } })
}

export async function ofPart (ds: DatasoleServer<Partly>): Promise<void> {
  ds.rpc.register('add', (params) => { same<typeof params, number>(true); return params })
  // @ts-expect-error rpc is closed
  ds.rpc.register('other', () => 1)
  ds.primitives.events.on('anything', ({ data }) => { same<typeof data, unknown>(true) })
  await ds.primitives.live.setState('anything', { of: 'any kind' })
}

export async function ofNothing (ds: DatasoleServer): Promise<void> {
  ds.rpc.register('anything', (params) => { same<typeof params, unknown>(true); return params })
  const result = await ds.rpc.call('anything', 1)
  is<unknown>()(result, true)
  ds.primitives.fanout.broadcast('anything', 1)
  const value = await ds.primitives.live.getState('anything')
  is<unknown>()(value, true)
}

export function ofOptions (): void {
  const ds = new DatasoleServer<AppContract>({
    authHandler: async (req) => ({ authenticated: req.headers.authorization !== undefined, userId: 'u', roles: ['r'], metadata: { any: 'thing' } }),
    rateLimit: { keyExtractor: (id, method, connection) => `${id}${method ?? ''}${connection.userId ?? ''}` }
  })
  void ds
  const synchronous: RateLimiter = { check: () => ({ allowed: true, remaining: 1, resetAt: 0 }), consume: () => ({ allowed: true, remaining: 1, resetAt: 0 }), reset: () => {} }
  void new DatasoleServer({ rateLimiter: synchronous })
  void new DatasoleServer({ rateLimiter: new DefaultRateLimiter(new MemoryBackend()) })
  // @ts-expect-error no reset
  void new DatasoleServer({ rateLimiter: { check: synchronous.check, consume: synchronous.consume } })
  // @ts-expect-error no such option
  void new DatasoleServer({ pathh: '/x' })
  void new DatasoleServer({ authHandler: (req) => ({ authenticated: getToken(req, { cookie: 'session' }) !== undefined, expiresAt: Date.now() + 1000 }) })
  // @ts-expect-error ms, not a Date
  void new DatasoleServer({ authHandler: () => ({ authenticated: true, expiresAt: new Date() }) })
  // @ts-expect-error userId is a string
  void new DatasoleServer({ authHandler: () => ({ authenticated: true, userId: 5 }) })
}

t.test('helper types of the contract', async (t) => {
  same<RpcParams<AppContract, 'add'>, { a: number, b: number }>(true)
  same<RpcResult<AppContract, 'plain'>, string[]>(true)
  same<EventData<AppContract, 'chat'>, { text: string }>(true)
  same<StateValue<AppContract, 'board'>, Board>(true)
  t.pass('they compile')
})

t.test('types: no declaration that users see says any', async (t) => {
  const seen = new Set<string>()
  const visit = (url: URL): void => {
    const file = new URL(url.href.replace(/\.js$/, '.d.ts'))
    if (seen.has(file.href) || !existsSync(file)) return
    seen.add(file.href)
    const code = readFileSync(file, 'utf8').replace(/\/\*[^]*?\*\/|\/\/.*$/gm, '')
    const found = /[:<|,([=]\s*any\b/.exec(code)
    t.notOk(found, `${file.pathname.split('/').slice(-2).join('/')}${found === null ? '' : `: ${code.slice(Math.max(0, found.index - 60), found.index + 20)}`}`)
    for (const [, specifier] of code.matchAll(/from ['"](\.[^'"]+)['"]/g)) visit(new URL(specifier!, file))
  }
  for (const entry of ['../../index.js', '../../plugins/server.js', '../../lib/client/client.js']) visit(new URL(entry, import.meta.url))
  t.ok(seen.size > 20, `${seen.size} files`)
})
