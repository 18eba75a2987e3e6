import t from 'tap'
import type { ClientCounter, ClientMap, ClientRegister, DatasoleClient } from '../../lib/client/client.js'
import type { CrdtName, CrdtValue, DatasoleServer, EventData, RpcParams, RpcResult, ServerCounter, ServerMap, StateName, StateValue, WorkerDatasole } from '../../plugins/server.js'

enum Key { Likes = 'likes' }

interface AppContract {
  crdts: {
    [Key.Likes]: { type: 'pn-counter' }
    title: { type: 'lww-register', value: string }
    prefs: { type: 'lww-map', value: { color: string, size?: number } }
  }
}

/** Whether two types are the same. */
type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends (<T>() => T extends B ? 1 : 2) ? true : false
/** Takes a value of exactly this type. */
const exactly = <T>() => <A>(_value: A, _is: Same<A, T>): void => {}

/** Never called: what is checked here is checked by the compiler. */
export async function typed (client: DatasoleClient<AppContract>, open: DatasoleClient, ds: DatasoleServer<AppContract>): Promise<void> {
  exactly<ClientCounter>()(client.crdt('likes', 'pn-counter'), true)
  exactly<ClientCounter>()(client.crdt(Key.Likes, 'pn-counter'), true)
  exactly<ClientRegister<string>>()(client.crdt('title', 'lww-register'), true)
  const prefs = client.crdt('prefs', 'lww-map')
  exactly<ClientMap<{ color: string, size?: number }>>()(prefs, true)
  exactly<string | undefined>()(prefs.value.color, true)
  prefs.set('size', 3)
  // @ts-expect-error it is the replica's
  prefs.value.color = 'red'
  prefs.remove('color')
  // @ts-expect-error of another type
  prefs.set('size', 'big')
  // @ts-expect-error no such field
  prefs.set('shape', 'round')
  // @ts-expect-error the key is of another type
  client.crdt('likes', 'lww-map')
  // @ts-expect-error no such key
  client.crdt('dislikes', 'pn-counter')
  // @ts-expect-error a counter cannot be set
  client.crdt('likes', 'pn-counter').set(1)
  exactly<ClientMap<Record<string, unknown>>>()(open.crdt('whatever', 'lww-map'), true)

  const { crdt } = ds.primitives
  exactly<ServerCounter>()(crdt.register('likes', 'pn-counter'), true)
  exactly<ServerMap<{ color: string, size?: number }>>()(crdt.registerByType('prefs', 'lww-map'), true)
  exactly<string | undefined>()(await crdt.getValue('title'), true)
  exactly<ServerCounter | undefined>()(crdt.get('likes'), true)
  // @ts-expect-error the key is of another type
  crdt.register('title', 'pn-counter')
  exactly<DatasoleServer<AppContract>>()(ds, true)
}

/** The same of a worker script, where everything is asynchronous. */
export async function inWorker (ds: WorkerDatasole<AppContract>, open: WorkerDatasole): Promise<void> {
  const { crdt } = ds.primitives
  const likes = await crdt.registerByType(Key.Likes, 'pn-counter')
  exactly<ServerCounter>()(likes, true)
  await likes.increment()
  exactly<number | undefined>()(await likes.value(), true)
  exactly<ServerMap<{ color: string, size?: number }> | undefined>()(await crdt.get('prefs'), true)
  exactly<string | undefined>()(await crdt.getValue('title'), true)
  exactly<boolean>()(await crdt.delete('title'), true)
  await crdt.apply('title', { type: 'lww-register', op: 'set', value: 'x' })
  // @ts-expect-error the key is of another type
  await crdt.registerByType('title', 'pn-counter')
  // @ts-expect-error no such key
  await crdt.getValue('dislikes')
  // @ts-expect-error every thread runs the script, so that a second registration would throw
  await crdt.register('likes', 'pn-counter')
  // @ts-expect-error changes are heard on the main thread
  crdt.onChange(() => {})
  // @ts-expect-error it is a promise
  crdt.registerByType('likes', 'pn-counter').increment()
  await (await open.primitives.crdt.registerByType('whatever', 'lww-map')).set('field', 1)
}

export function helpers (): void {
  exactly<'likes' | 'title' | 'prefs'>()(null as unknown as CrdtName<AppContract>, true)
  exactly<string>()(null as unknown as CrdtValue<AppContract, 'title', 'lww-register'>, true)
  exactly<string>()(null as unknown as StateName<AppContract>, true)
  exactly<unknown>()(null as unknown as StateValue<AppContract, 'any key, where the contract has no state'>, true)
  exactly<[unknown, unknown, unknown]>()(null as unknown as [EventData<AppContract, 'e'>, RpcParams<AppContract, 'm'>, RpcResult<AppContract, 'm'>], true)
}

t.test('crdt types: types are checked by the compiler', async (t) => { for (const each of [typed, inWorker, helpers]) t.type(each, 'function') })
