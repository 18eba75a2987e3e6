import t from 'tap'
import type { ComputedRef } from 'vue'
import { createComposables } from '../../lib/bindings/vue/vue-composables.js'
import { createDatasole } from '../../lib/bindings/svelte/svelte-datasole.js'
import type { DeepReadonly } from '../../lib/client/client.js'

interface Board { n: number, cards: { id: string, tags: string[] }[] }

interface AppContract {
  rpc: { add: { params: { a: number, b: number }, result: number }, reset: { params: undefined, result: { done: boolean } } }
  events: { chat: { text: string } }
  state: { board: Board, title: string }
  crdts: { likes: { type: 'pn-counter' }, prefs: { type: 'lww-map', value: { color: string, size: number } } }
}

type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends (<T>() => T extends B ? 1 : 2) ? true : false
/** Takes a value of exactly this type. */
const exactly = <T>() => <A>(_value: A, _is: Same<A, T>): void => {}

/** Never called: what is checked here is checked by the compiler. */
export async function vueTypes (key: 'board' | null): Promise<void> {
  const { plugin, useLive, useRpc, useEvent, useChannel, useCrdt } = createComposables<AppContract>()
  exactly<ComputedRef<DeepReadonly<Board> | undefined>>()(useLive('board').value, true)
  exactly<ComputedRef<DeepReadonly<Board> | undefined>>()(useLive(() => key).value, true)
  exactly<ComputedRef<number>>()(useLive('board', (board) => board?.n ?? 0).value, true)
  exactly<number>()(await useRpc('add').call({ a: 1, b: 2 }), true)
  exactly<ComputedRef<{ done: boolean } | undefined>>()(useRpc('reset').data, true)
  useEvent('chat', ({ data }) => { exactly<string>()(data.text, true) })
  useChannel('title').set('x')
  useCrdt('likes', 'pn-counter').increment()
  useCrdt('prefs', 'lww-map').set('size', 5)
  plugin.install({} as never, { initial: { title: { value: 'x', epoch: 'e', version: 1 } } })
  // @ts-expect-error no such key
  useLive('bored')
  // @ts-expect-error the value may be unknown
  useLive('board', (board) => board.n)
  // @ts-expect-error it is read-only, at every depth
  useLive('board').value.value!.cards[0]!.tags.push('x')
  // @ts-expect-error wrong parameters
  void useRpc('add').call({ a: '1', b: 2 })
  // @ts-expect-error no such method
  useRpc('sub')
  // @ts-expect-error no such event
  useEvent('chats', () => {})
  // @ts-expect-error another type
  useCrdt('likes', 'lww-map')
  // @ts-expect-error wrong value
  useChannel('title').set(5)
  // @ts-expect-error wrong value of a key
  plugin.install({} as never, { initial: { title: { value: 5, epoch: 'e', version: 1 } } })
}

export async function svelteTypes (key: 'board' | null): Promise<void> {
  const { live, rpc, event, channel, crdt, connection } = createDatasole<AppContract>()
  exactly<DeepReadonly<Board> | undefined>()(live('board').value, true)
  exactly<DeepReadonly<Board> | undefined>()(live(() => key).value, true)
  exactly<number>()(live('board', (board) => board?.n ?? 0).value, true)
  live('title').subscribe((title) => { exactly<string | undefined>()(title, true) })
  exactly<number>()(await rpc('add').call({ a: 1, b: 2 }), true)
  event('chat', ({ data }) => { exactly<string>()(data.text, true) })
  channel('title').set('x')
  crdt('likes', 'pn-counter').increment()
  exactly<'disconnected' | 'connecting' | 'connected' | 'reconnecting'>()(connection().state, true)
  // @ts-expect-error no such key
  live('bored')
  // @ts-expect-error the value may be unknown
  live('board', (board) => board.n)
  // @ts-expect-error it is the mirror's
  live('board').value!.n = 5
  // @ts-expect-error no such method
  rpc('sub')
  // @ts-expect-error no such event
  event('chats', () => {})
  // @ts-expect-error wrong value
  channel('title').set(5)
  // @ts-expect-error wrong operation
  crdt('likes', 'pn-counter').set(1)
}

t.test('vue and svelte types: the compiler has checked them', async (t) => {
  t.type(createComposables().useLive, 'function')
  t.type(createDatasole().live, 'function')
})
