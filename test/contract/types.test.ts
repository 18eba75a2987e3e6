import { Type } from '@sinclair/typebox'
import { type as ark } from 'arktype'
import Fastify, { type FastifyPluginAsync, type RawServerDefault } from 'fastify'
import t from 'tap'
import * as v from 'valibot'
import { z } from 'zod'
import type { ContractProvider, Datasole } from '../../index.js'
import { type DatasoleClient, type RpcErrorOf, type RpcResult, type StateValue } from '../../lib/client/client.js'
import { defineContract, jsonSchema, type } from '../../lib/contract/exports.js'
import { DatasoleServer, type WorkerDatasole } from '../../plugins/server.js'

type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends (<T>() => T extends B ? 1 : 2) ? true : false
function same<A, B> (_isSame: Same<A, B>): void {}

const contract = defineContract({
  rpc: {
    add: { params: z.object({ a: z.number(), b: z.number() }), result: z.number(), errors: { OVERFLOW: z.object({ max: z.number() }) } },
    parse: { params: z.string().transform((text) => text.length), result: z.number().transform((n) => String(n)) },
    valibot: { params: v.object({ name: v.string() }), result: v.string() },
    ark: { params: ark({ name: 'string', 'age?': 'number' }), result: ark('number') },
    typebox: { params: Type.Object({ n: Type.Number() }), result: Type.Array(Type.String()) },
    json: { params: jsonSchema<{ n: number }>({ type: 'object' }), result: { type: 'number' } },
    ping: {}
  },
  events: { chat: { toServer: z.object({ text: z.string() }), toClient: z.object({ text: z.string(), by: z.string() }) }, tick: z.number() },
  state: { dashboard: z.object({ visitors: z.number() }), 'room:{id}': z.object({ title: z.string() }), 'room:{id}/log': z.array(z.string()), free: type<{ any: Date }>() },
  crdts: { likes: 'pn-counter', title: { type: 'lww-register', value: z.string() }, 'card:{id}': { type: 'lww-map', fields: { votes: z.number() } } }
})
type App = typeof contract

// What follows is compiled and never run: every line marked as an error must be one.

export async function onServer (ds: DatasoleServer<App>): Promise<void> {
  ds.rpc.register('add', ({ a, b }, ctx) => {
    same<typeof a, number>(true)
    if (a > 5) throw ctx.error('OVERFLOW', { max: 5 })
    // @ts-expect-error -- no such error
    ctx.error('OTHER', {})
    // @ts-expect-error -- not its details
    ctx.error('OVERFLOW', { min: 5 })
    return a + b
  })
  ds.rpc.register('parse', (length) => { same<typeof length, number>(true); return 5 })
  ds.rpc.register('valibot', ({ name }) => name)
  ds.rpc.register('ark', ({ age }) => { same<typeof age, number | undefined>(true); return 1 })
  ds.rpc.register('typebox', ({ n }) => [String(n)])
  ds.rpc.register('json', ({ n }) => n)
  // @ts-expect-error -- not in the contract
  ds.rpc.register('subtract', () => 1)
  // @ts-expect-error -- not its result
  ds.rpc.register('add', () => 'text')
  same<RpcResult<App, 'parse'>, string>(true)
  const sum = await ds.rpc.call('add', { a: 1, b: 2 })
  same<typeof sum, number>(true)
  void sum
  // @ts-expect-error -- b is missing
  await ds.rpc.call('add', { a: 1 })

  ds.addHook('preSubscribe', (_ctx, { key, pattern, params }) => {
    same<typeof key, string>(true)
    if (pattern === 'room:{id}') same<typeof params.id, string>(true)
    // @ts-expect-error -- no such name
    if (pattern === 'hall:{id}') throw new Error(key)
  })

  const { events, fanout, live, crdt } = ds.primitives
  events.on('chat', ({ data }) => { same<typeof data, { text: string }>(true) })
  fanout.broadcast('chat', { text: 'hi', by: 'ann' })
  // @ts-expect-error -- by is missing
  fanout.broadcast('chat', { text: 'hi' })
  events.emit('tick', 1)

  await live.setState('dashboard', { visitors: 1 })
  await live.setState('room:7', { title: 'hall' })
  await live.setState('room:7/log', ['entered'])
  same<StateValue<App, 'room:7'>, { title: string }>(true)
  same<StateValue<App, 'room:7/log'>, string[]>(true)
  same<StateValue<App, 'free'>, { any: Date }>(true)
  // @ts-expect-error -- not its value
  await live.setState('room:7', { visitors: 1 })
  // @ts-expect-error -- no such key
  await live.setState('rooms', {})
  same<ReturnType<typeof crdt.register<'likes', 'pn-counter'>>['type'], 'pn-counter'>(true)
  // @ts-expect-error -- the contract has another type
  crdt.register('likes', 'lww-map')
  await crdt.register('card:1', 'lww-map').set('votes', 1)
  // @ts-expect-error -- no such field
  await crdt.register('card:2', 'lww-map').set('vote', 1)
}

export async function onClient (client: DatasoleClient<App>): Promise<void> {
  const sum = await client.rpc('add', { a: 1, b: 2 })
  same<typeof sum, number>(true)
  void sum
  await client.rpc('parse', 'text')
  // @ts-expect-error -- what a caller gives is text
  await client.rpc('parse', 5)
  const outcome = await client.tryRpc('add', { a: 1, b: 2 })
  if (outcome.ok) same<typeof outcome.result, number>(true)
  else if (outcome.error.is('OVERFLOW')) same<typeof outcome.error.data.details, { max: number }>(true)
  // @ts-expect-error -- no such error
  if (!outcome.ok) outcome.error.is('OTHER')
  same<RpcErrorOf<App, 'add'> extends Error ? true : false, true>(true)
  client.emit('chat', { text: 'hi' })
  // @ts-expect-error -- by is for the way to clients
  client.emit('chat', { text: 'hi', by: 'me' })
  client.on('chat', ({ data }) => { same<typeof data.by, string>(true) })
  client.subscribeState('room:7', (value) => { same<NonNullable<typeof value>['title'], string>(true) })
  // @ts-expect-error -- no such key
  client.subscribeState('hall:7', () => {})
}

/** A server that is given the contract is typed by it. */
export function inferred (): void {
  const ds = new DatasoleServer({ contract })
  same<typeof ds, DatasoleServer<App>>(true)
  // @ts-expect-error -- not in the contract
  ds.rpc.register('subtract', () => 1)
  void new DatasoleServer({ path: '/ws' })
}

/** So is an instance of Fastify. Its types forget the provider in a scope, which asks for it again. */
export async function onFastify (): Promise<void> {
  const app = Fastify().withTypeProvider<ContractProvider<App>>()
  same<typeof app.ds, Datasole<App>>(true)
  await app.register(async (scope) => {
    const game = scope.withTypeProvider<ContractProvider<App>>()
    same<typeof game.ds, Datasole<App>>(true)
    game.ds.rpc.register('add', ({ a, b }) => a + b)
  })
  const plugin: FastifyPluginAsync<object, RawServerDefault, ContractProvider<App>> = async (game) => { game.ds.rpc.register('add', ({ a, b }) => a + b) }
  await app.register(plugin)
}

export function inThread (ds: WorkerDatasole<App>): void {
  ds.rpc.register('add', ({ a, b }) => a + b)
  // @ts-expect-error -- not its result
  ds.rpc.register('add', () => 'text')
}

/** An interface goes on working beside a contract. */
interface More { rpc: { subtract: { params: number, result: number } }, events: { extra: boolean, said: { toServer: string, toClient: { text: string, by: string } } } }
export async function beside (client: DatasoleClient<App & More>): Promise<void> {
  same<RpcResult<App & More, 'subtract'>, number>(true)
  same<RpcResult<App & More, 'add'>, number>(true)
  await client.rpc('subtract', 1)
  client.emit('extra', true)
  client.emit('said', 'hi')
  client.on('said', ({ data }) => { same<typeof data, { readonly text: string, readonly by: string }>(true) })
  // @ts-expect-error -- that is what the server sends
  client.emit('said', { text: 'hi', by: 'ann' })
  client.emit('tick', 1)
}

export function besideOnServer (ds: DatasoleServer<App & More>): void {
  const { events, fanout } = ds.primitives
  events.on('said', ({ data }) => { same<typeof data, string>(true) })
  fanout.broadcast('said', { text: 'hi', by: 'ann' })
  // @ts-expect-error -- that is what clients send
  fanout.broadcast('said', 'hi')
}

/** Wrong definitions. */
export function wrong (): void {
  // @ts-expect-error -- a schema is an object
  defineContract({ rpc: { add: { params: 'number' } } })
  // @ts-expect-error -- no such type of CRDT
  defineContract({ crdts: { likes: 'counter' } })
  // @ts-expect-error -- no such section
  defineContract({ methods: {} })
}

t.test('types: a contract types servers, clients, threads and Fastify, for right and wrong use', async (t) => {
  t.pass('it compiles')
})
