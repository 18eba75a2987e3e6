import t from 'tap'
import { WebSocket } from 'ws'
import { DatasoleClient, type DeepReadonly, type EventData, type EventName, type RpcName, type RpcParams, type RpcResult, type StateName, type StateValue, type Unsubscribe, type WebSocketConstructor } from '../../lib/client/client.js'
import type { Head } from '../../lib/protocol/messages.js'

enum Method { Add = 'add', Reset = 'reset' }
enum Key { Dashboard = 'dashboard' }

interface Dashboard { visitors: number, items: { id: number, tags: string[] }[] }

interface AppContract {
  rpc: {
    [Method.Add]: { params: { a: number, b: number }, result: number }
    [Method.Reset]: { params: undefined, result: { done: boolean } }
    find: { params: { name?: string } | undefined, result: string[] }
  }
  events: { chat: { text: string }, typing: undefined }
  state: { [Key.Dashboard]: Dashboard }
}

/** Whether two types are the same. */
type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends (<T>() => T extends B ? 1 : 2) ? true : false
/** Takes a value of exactly this type. */
const exactly = <T>() => <A>(_value: A, _is: Same<A, T>): void => {}

const options = { url: 'http://127.0.0.1:1', webSocket: WebSocket }

/** Helper types, as code around a client needs them. */
export function helpers (client: DatasoleClient<AppContract>): void {
  type Contract = AppContract
  exactly<'add' | 'reset' | 'find'>()(null as unknown as RpcName<Contract>, true)
  exactly<'chat' | 'typing'>()(null as unknown as EventName<Contract>, true)
  exactly<'dashboard'>()(null as unknown as StateName<Contract>, true)
  exactly<{ a: number, b: number }>()(null as unknown as RpcParams<Contract, 'add'>, true)
  exactly<{ done: boolean }>()(null as unknown as RpcResult<Contract, Method.Reset>, true)
  exactly<{ text: string }>()(null as unknown as EventData<Contract, 'chat'>, true)
  exactly<Dashboard>()(null as unknown as StateValue<Contract, Key.Dashboard>, true)
  // a hook of a page's framework, for any key
  const use = <K extends StateName<Contract>>(key: K, take: (value: DeepReadonly<StateValue<Contract, K>> | undefined) => void): Unsubscribe => client.subscribeState(key, take)
  use('dashboard', (value) => { exactly<number | undefined>()(value?.visitors, true) }).unsubscribe()
  // @ts-expect-error no such key
  use('dashbored', () => {})
  // @ts-expect-error no such method
  type Wrong = RpcParams<Contract, 'subtract'>
  // @ts-expect-error no such key
  type Missing = StateValue<Contract, 'dashbored'>
  exactly<unknown>()(null as unknown as DeepReadonly<unknown>, true)
  exactly<readonly [number, readonly string[]]>()(null as unknown as DeepReadonly<[number, string[]]>, true)
  exactly<{ readonly a?: { readonly b: number } | null }>()(null as unknown as DeepReadonly<{ a?: { b: number } | null }>, true)
  void (null as unknown as [Wrong, Missing])
}

/** Never called: what is checked here is checked by the compiler. */
export async function typed (client: DatasoleClient<AppContract>): Promise<void> {
  exactly<number>()(await client.rpc('add', { a: 1, b: 2 }), true)
  exactly<number>()(await client.rpc(Method.Add, { a: 1, b: 2 }, { timeoutMs: 5 }), true)
  exactly<{ done: boolean }>()(await client.rpc(Method.Reset), true)
  await client.rpc('reset', undefined, { signal: AbortSignal.timeout(5) })
  await client.rpc('find')
  await client.rpc('find', { name: 'x' })
  // @ts-expect-error no such method
  await client.rpc('subtract', { a: 1, b: 2 })
  // @ts-expect-error its parameters are missing
  await client.rpc('add')
  // @ts-expect-error one of its parameters is missing
  await client.rpc('add', { a: 1 })
  // @ts-expect-error of another type
  await client.rpc('add', { a: 1, b: '2' })
  // @ts-expect-error no such option
  await client.rpc('add', { a: 1, b: 2 }, { timeout: 5 })

  const off = client.on('chat', (message) => {
    exactly<{ readonly event: string, readonly data: { readonly text: string }, readonly timestamp: number }>()(message, true)
    // @ts-expect-error other handlers share it
    message.data.text = 'changed'
  })
  off()
  exactly<boolean>()(client.emit('chat', { text: 'hello' }), true)
  client.emit('typing')
  // @ts-expect-error no such event
  client.emit('shout', { text: 'hello' })
  // @ts-expect-error its data is missing
  client.emit('chat')
  // @ts-expect-error data of another type
  client.emit('chat', { text: 1 })
  // @ts-expect-error no such event
  client.on('shout', () => {})

  client.subscribeState(Key.Dashboard, (value, head) => {
    exactly<DeepReadonly<Dashboard> | undefined>()(value, true)
    exactly<Readonly<Head>>()(head, true)
    // @ts-expect-error it is the mirror's
    value!.visitors = 5
    // @ts-expect-error at every depth
    value!.items[0]!.tags.sort()
    // @ts-expect-error and so are the versions
    head.version = 5
    exactly<{ id: number, tags: string[] }[]>()(structuredClone(value!.items as Dashboard['items']).reverse(), true)
  }, { onError: (error) => { exactly<string>()(error.code, true) } })
  exactly<DeepReadonly<Dashboard> | undefined>()(client.getState('dashboard'), true)
  // @ts-expect-error no such key
  client.subscribeState('nothing', () => {})
  // @ts-expect-error no such key
  client.getState('nothing')
  const channel = client.channel(Key.Dashboard)
  exactly<DeepReadonly<Dashboard> | undefined>()(channel.get(), true)
  channel.update((draft) => { exactly<Dashboard | undefined>()(draft, true); draft!.visitors++ })
  // @ts-expect-error the key may have no value
  channel.update((draft) => { draft.visitors++ })
  channel.update(() => ({ visitors: 1, items: [] }))
  channel.update((draft) => { draft!.items.sort((a, b) => a.id - b.id) })
  channel.set({ visitors: 2, items: [] })
  channel.set({ ...channel.get()!, visitors: 3 })
  channel.update(() => ({ visitors: 1, items: channel.get()!.items }))
  // @ts-expect-error it is the mirror's
  channel.get()!.items.push({ id: 1, tags: [] })
  exactly<Unsubscribe>()(channel.subscribe((value) => { exactly<DeepReadonly<Dashboard> | undefined>()(value, true) }), true)
  exactly<Promise<void>>()(channel.saved(), true)
  // @ts-expect-error no such key
  client.channel('nothing')
  // @ts-expect-error not its value
  channel.set({ visitors: 'many' })
  // @ts-expect-error no such member
  channel.update((draft) => { draft!.visits++ })
  // @ts-expect-error asynchronous
  channel.update(async (draft) => { draft.visitors++ })
  // @ts-expect-error not a state of the connection
  exactly<'open'>()(client.getConnectionState(), true)
}

/** Without a contract every name goes, and nothing is known of the data. */
export async function untyped (client: DatasoleClient): Promise<void> {
  exactly<unknown>()(await client.rpc('anything', { at: 'all' }), true)
  client.emit('anything')
  client.emit('anything', 7)
  client.on('anything', ({ data }) => { exactly<unknown>()(data, true) })
  exactly<unknown>()(client.getState('anything'), true)
}

t.test('the types fit what is there', async (t) => {
  const constructors: WebSocketConstructor[] = [WebSocket]
  for (const getToken of [() => 't', async () => 't']) t.ok(new DatasoleClient<AppContract>({ ...options, getToken }))
  // @ts-expect-error a token is a string
  t.ok(new DatasoleClient<AppContract>({ ...options, getToken: () => undefined }))
  t.equal(constructors.length, 1)
  const client = new DatasoleClient<AppContract>(options)
  t.equal(client.getState(Key.Dashboard), undefined)
  t.equal(client.emit('chat', { text: 'nobody hears it' }), false)
  // @ts-expect-error no such option
  t.throws(() => new DatasoleClient<AppContract>({ ...options, retries: 3 }), { code: 'INVALID_OPTION' })
  // @ts-expect-error a contract has rpc, events and state
  t.ok(new DatasoleClient<{ rpc: 7 }>(options))
})
