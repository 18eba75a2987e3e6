import { existsSync } from 'node:fs'
import { setTimeout } from 'node:timers/promises'
import { threadId } from 'node:worker_threads'
import type { Datasole, RpcContext, ServerCounter, ServerDocument, ServerMap, ServerRegister, WorkerDatasole } from '../../plugins/server.js'
import { type CardBoard, movingRecipe } from '../helpers/moving-recipe.js'

/** What code does with CRDTs, and what it hears: the same on the main thread and in a worker. */
export async function crdtStory (crdt: WorkerDatasole['primitives']['crdt'] | Datasole['primitives']['crdt']): Promise<unknown[]> {
  const heard: unknown[] = []
  const tell = async (run: () => unknown): Promise<void> => {
    heard.push(await Promise.resolve().then(run).then((result) => typeof result === 'object' && result !== null && 'key' in result ? [result.key] : result ?? null, ({ name, code, message }) => ({ name, code, message })))
  }
  const cycle: { self?: unknown } = {}
  cycle.self = cycle
  const map = await crdt.registerByType('story.map', 'lww-map') as ServerMap<Record<string, unknown>>
  const register = await crdt.registerByType('story.register', 'lww-register') as ServerRegister<unknown>
  const counter = await crdt.registerByType('story.counter', 'pn-counter') as ServerCounter
  const document = await crdt.registerByType('story.text', 'yjs') as ServerDocument
  await tell(() => crdt.registerByType('story.map', 'lww-map'))
  await tell(() => crdt.registerByType('story.map', 'pn-counter'))
  await tell(() => crdt.registerByType('story.odd', 'odd' as never))
  await tell(() => crdt.registerByType(5 as never, 'pn-counter'))
  await tell(() => crdt.get('story.map'))
  await tell(() => crdt.get('story.nothing'))
  for (const odd of [10n, NaN, new Map(), { deep: [() => {}] }, cycle, undefined, Symbol('x')]) {
    await tell(() => map.set('odd', odd as never))
    await tell(() => register.set(odd))
    await tell(() => counter.increment(odd as never))
  }
  await tell(() => map.set('when', { at: new Date(0), gone: undefined, list: [1] }))
  await tell(() => map.set('other', 1))
  await tell(() => map.remove('other'))
  await tell(() => map.value())
  await tell(() => register.set(['a', null]))
  await tell(() => register.value())
  for (const amount of [undefined, 5, 0.5]) await tell(() => counter.increment(amount))
  await tell(() => counter.decrement(2))
  await tell(() => counter.increment(-1))
  await tell(() => counter.value())
  await tell(() => document.update('!'))
  await tell(() => document.update('/////w=='))
  const op = { type: 'pn-counter', op: 'increment', value: 3, nodeId: 'n', timestamp: 1, seq: 1 } as const
  await tell(() => crdt.apply('story.open', op))
  await tell(() => crdt.apply('story.open', op))
  await tell(() => crdt.getValue('story.open'))
  await tell(() => crdt.apply('story.open', { type: 'lww-register', op: 'set', value: 1 }))
  await tell(() => crdt.apply('story.open', { type: 'pn-counter', op: 'set' } as never))
  await tell(() => crdt.apply('story.open', null as never))
  await tell(() => crdt.delete('story.open'))
  await tell(() => crdt.delete('story.open'))
  await tell(() => crdt.getValue('story.open'))
  await tell(() => crdt.delete('story.map'))
  return heard
}

/** What a worker has to do in the tests. */
export default async function register (ds: WorkerDatasole): Promise<void> {
  const { rpc, log, primitives: { live, state, events, fanout, sessions, crdt } } = ds
  const calls = new Map<string, number>()
  const seen: unknown[] = []
  const spin = (ms: number): void => { for (const until = performance.now() + ms; performance.now() < until;); }
  await state.setState('loads', 1)

  rpc.register('thread', () => threadId)
  rpc.register('w.echo', (params) => params)
  rpc.register('w.later', async (params) => { await setTimeout(5); return params })
  // the event loop is blocked until the test makes this file
  rpc.register('block', (file) => { while (!existsSync(file as string)) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5) })
  rpc.register('spin', (ms) => { spin(ms as number); return threadId })
  rpc.register('count', (_, { connectionId }) => { calls.set(connectionId, (calls.get(connectionId) ?? 0) + 1); return calls.get(connectionId) })
  rpc.register('schema', { schema: { params: { type: 'object', required: ['a'] }, result: { type: 'number' } } }, (params) => (params as { a: unknown }).a)
  rpc.register('throws', (what) => {
    if (what === 'coded') throw Object.assign(new Error('coded'), { code: 4711, data: { why: 1 } })
    if (what === 'circular') { const cycle: { self?: unknown } = {}; cycle.self = cycle; return cycle }
    throw new Error('plain')
  })
  const aborted = async (_: unknown, { signal }: RpcContext): Promise<void> => {
    await new Promise((resolve) => { signal.addEventListener('abort', resolve, { once: true }) })
    await state.setState('aborted', (signal.reason as { data: { code: string } }).data.code)
  }
  rpc.register('signal', { timeoutMs: 1000 }, aborted) // time enough to begin
  rpc.register('slow signal', aborted)
  rpc.register('context', (_, { auth, connectionId, connection: { userId, roles, metadata, tags, remoteAddress, protocol } }: RpcContext) => ({
    auth: { userId: auth!.userId }, connectionId, userId, roles, plan: metadata.plan, tags: [...tags], remoteAddress, protocol
  }))
  rpc.register('get', (key, { connection }) => connection.get(key as string) ?? null)
  rpc.register('metadata', (key, { connection }) => connection.metadata[key as string] ?? null)
  rpc.register('change', (_, { connection }) => {
    connection.tags.add('from-worker')
    connection.tags.delete('from-main')
    connection.set('cart', { items: [1] })
    try {
      connection.set('fn', { deep: [() => {}] })
    } catch (error) {
      return { code: (error as { code: string }).code, message: (error as Error).message }
    }
  })
  rpc.register('moving recipe', async (key) => { await live.update(key as string, (board) => { movingRecipe(board as CardBoard) }) })
  rpc.register('increment', async (key) => { await live.update(key as string, (draft) => ((draft as number | undefined) ?? 0) + 1) })
  rpc.register('state', async () => {
    await state.setState('s', { a: 1, ['__proto__']: 2 })
    await state.update('s', (draft) => { (draft as { a: number }).a++ })
    const value = await state.getState('s')
    const deleted = await state.deleteState('s')
    const refused = await state.setState('s', { a: 10n }).catch((error: unknown) => (error as Error).message)
    return { value, deleted, gone: await state.getState('s') === undefined, refused }
  })
  rpc.register('session', async (_, { connection }) => {
    await sessions.restore(connection)
    await sessions.set(connection.userId!, 'theme', 'dark')
    await sessions.flush(connection.userId!)
    const before = await sessions.get(connection.userId!, 'theme')
    return [before, await sessions.delete(connection.userId!, 'theme'), await sessions.get(connection.userId!, 'theme') ?? null]
  })
  const outcome = async (sent: Promise<void>): Promise<unknown> => await sent.then(() => 'sent', ({ name, code }) => ({ name, code }))
  rpc.register('broadcast to', async (target) => await outcome(fanout.broadcast('targeted', 1, target as never)))
  rpc.register('big', async () => [await outcome(fanout.broadcast('big', 1n)), await outcome(events.emit('big', 1n)), await outcome(sessions.restore(undefined as never) as never)])
  const total = await crdt.registerByType('total', 'pn-counter')
  rpc.register('count up', async (by) => { await total.increment(by as number); await total.decrement(); return await total.value() })
  rpc.register('crdts', async () => await crdtStory(crdt))
  let heard = 0
  const hear = (): void => { heard++ }
  const ends = [events.on('twice', hear), events.on('twice', hear)]
  rpc.register('heard', () => heard)
  rpc.register('end one', () => {
    const end = ends.pop()!
    end.unsubscribe()
    end()
  })
  rpc.register('nobody', async () => { await sessions.restore({}).catch((error: unknown) => { throw Object.assign(new Error((error as { code: string }).code), { code: 1 }) }) })
  rpc.register('log', (what) => {
    if (what === 'nothing') log.warn({ toJSON: () => undefined }, 'nothing to say')
    else log.warn({ big: 10n, err: new Error('shown') }, 'said in a worker')
  })
  rpc.register('session of', async (_, { connection }) => { await sessions.set(connection.userId!, 'n', { NaN }) })
  rpc.register('tag, then spin', (ms, { connection }) => { connection.tags.add('tagged'); spin(ms as number) })
  rpc.register('late', () => { rpc.register('too late', () => {}) })
  rpc.register('seen', () => seen.splice(0))
  rpc.register('exit', () => { process.exit(3) })
  rpc.register('throw outside', async () => { process.nextTick(() => { throw new Error('outside of a call') }); await setTimeout(10_000) })
  rpc.register('out of memory', () => { const all: unknown[] = []; for (;;) all.push(new Array(1000).fill(all.length)) })
  rpc.register('loop', { timeoutMs: 50 }, () => { for (;;); })
  rpc.register('hang', async () => { await setTimeout(100_000) })
  events.on('note', ({ data }) => { seen.push(data) })
  events.on('relay', async ({ event, data }, connection) => { await fanout.broadcast(event, { data, from: connection?.connectionId ?? null }) })
  events.on('spin', ({ data }) => { spin(data as number) })
  events.on('loop', () => { for (;;); })
  events.on('slow', async () => { await setTimeout(300); await state.setState('slow', 'done') })
  events.on('fails', () => { throw new Error('an event failed') })
}
