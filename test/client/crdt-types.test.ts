import t from 'tap'
import type { ClientCounter, ClientMap, ClientRegister, DatasoleClient } from '../../lib/client/client.js'
import type { DatasoleServer, ServerCounter, ServerMap } from '../../plugins/server.js'

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

t.test('types are checked by the compiler', async (t) => { t.type(typed, 'function') })
