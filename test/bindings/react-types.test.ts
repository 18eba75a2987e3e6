import { type ReactElement, createElement } from 'react'
import { renderToString } from 'react-dom/server'
import t from 'tap'
import { z } from 'zod'
import { type Hooks, type InitialStates, type Live, createHooks } from '../../lib/bindings/react/react-hooks.js'
import type { DatasoleError, DeepReadonly, LiveClient, RpcErrorOf } from '../../lib/client/client.js'
import { RpcError } from '../../lib/client/client.js'
import { defineContract } from '../../lib/contract/exports.js'

interface Board { n: number, cards: { id: string, tags: string[] }[] }

interface AppContract {
  rpc: {
    add: { params: { a: number, b: number }, result: number, errors: { OVERFLOW: { limit: number } } }
    reset: { params: undefined, result: { done: boolean } }
  }
  events: { chat: { text: string } }
  state: { board: Board, title: string }
  crdts: { likes: { type: 'pn-counter' }, prefs: { type: 'lww-map', value: { color: string, size: number } }, status: { type: 'lww-register', value: string } }
}

/** Whether two types are the same. */
type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends (<T>() => T extends B ? 1 : 2) ? true : false
/** Takes a value of exactly this type. */
const exactly = <T>() => <A>(_value: A, _is: Same<A, T>): void => {}

const hooks = createHooks<AppContract>()

/** Never called: what is checked here is checked by the compiler. */
export function liveTypes (key: 'board' | null): void {
  const { useLive, useSuspenseLive } = hooks
  exactly<Live<DeepReadonly<Board> | undefined>>()(useLive('board'), true)
  exactly<Live<DeepReadonly<Board> | undefined>>()(useLive(key), true)
  exactly<Live<number>>()(useLive('board', (board) => board?.cards.length ?? 0), true)
  exactly<Live<readonly string[] | undefined>>()(useLive(key, (board) => board?.cards[0]?.tags, (last, next) => last?.length === next?.length), true)
  exactly<string | undefined>()(useSuspenseLive('title').value, true)
  exactly<Live<number>>()(useSuspenseLive('board', (board) => board!.n), true)
  const { value, status, version, error } = useLive('board')
  exactly<'skipped' | 'loading' | 'live' | 'stale' | 'denied'>()(status, true)
  exactly<number | undefined>()(version, true)
  exactly<DatasoleError | undefined>()(error, true)
  // @ts-expect-error no such key
  useLive('bored')
  // @ts-expect-error the value may be unknown
  useLive('board', (board) => board.n)
  // @ts-expect-error it is the mirror's
  value!.n = 5
  // @ts-expect-error at every depth
  value!.cards[0]!.tags.push('x')
  // @ts-expect-error it compares selections
  useLive('board', (board) => board?.n, (last: string, next: string) => last === next)
  // @ts-expect-error there is nothing to wait for
  useSuspenseLive(null)
}

export async function rpcTypes (): Promise<void> {
  const { call, isPending, error, data } = hooks.useRpc('add')
  exactly<number>()(await call({ a: 1, b: 2 }, { timeoutMs: 5 }), true)
  exactly<number | undefined>()(data, true)
  exactly<boolean>()(isPending, true)
  exactly<RpcErrorOf<AppContract, 'add'> | DatasoleError | undefined>()(error, true)
  if (error instanceof RpcError && error.is('OVERFLOW')) exactly<number>()(error.data.details.limit, true)
  exactly<{ done: boolean }>()(await hooks.useRpc('reset').call(), true)
  // @ts-expect-error no such method
  hooks.useRpc('subtract')
  // @ts-expect-error a parameter is missing
  await call({ a: 1 })
  // @ts-expect-error its parameters are missing
  await call()
}

export function otherTypes (client: LiveClient<AppContract>): void {
  const { Provider, useEvent, useChannel, useCrdt, useConnection, useClient } = hooks
  useEvent('chat', ({ data, timestamp }) => { exactly<string>()(data.text, true); exactly<number>()(timestamp, true) })
  // @ts-expect-error no such event
  useEvent('shout', () => {})

  const board = useChannel('board')
  exactly<DeepReadonly<Board> | undefined>()(board.value, true)
  exactly<boolean>()(board.isPending, true)
  board.update((draft) => { draft!.n++ })
  board.set({ n: 1, cards: [] })
  // @ts-expect-error not its value
  board.set({ n: 'one', cards: [] })
  // @ts-expect-error no such member
  board.update((draft) => { draft!.m++ })
  // @ts-expect-error no such key
  useChannel('likes')

  const likes = useCrdt('likes', 'pn-counter')
  exactly<number>()(likes.value, true)
  likes.increment(2)
  // @ts-expect-error a counter is not set
  likes.set(2)
  // @ts-expect-error another type
  useCrdt('likes', 'lww-map')
  const prefs = useCrdt('prefs', 'lww-map')
  exactly<string | undefined>()(prefs.value.color, true)
  prefs.set('size', 5)
  prefs.remove('color')
  // @ts-expect-error of another type
  prefs.set('size', 'large')
  exactly<string | undefined>()(useCrdt('status', 'lww-register').value, true)
  // @ts-expect-error components share it: its subscription ends with the last of them
  prefs.close()

  exactly<'disconnected' | 'connecting' | 'connected' | 'reconnecting'>()(useConnection().state, true)
  exactly<LiveClient<AppContract>>()(useClient(), true)
  Provider({ client })
  Provider({ options: { url: 'http://localhost' }, keepMs: 0 })
  Provider({ initial: { title: { value: 'x', epoch: 'e', version: 1 } } })
  // @ts-expect-error one or the other
  Provider({ client, options: {} })
  // @ts-expect-error of another type
  Provider({ initial: { title: { value: 5, epoch: 'e', version: 1 } } })
  // @ts-expect-error no such option
  Provider({ options: { uri: '' } })
}

const contract = defineContract({
  rpc: { add: { params: z.object({ a: z.number() }), result: z.number() } },
  events: { chat: z.object({ text: z.string() }) },
  state: { 'room:{id}': z.object({ people: z.array(z.string()) }) },
  crdts: { likes: 'pn-counter' }
})

export async function definedTypes (id: string): Promise<void> {
  const { useLive, useRpc, useCrdt } = createHooks<typeof contract>()
  exactly<readonly string[] | undefined>()(useLive(`room:${id}`).value?.people, true)
  exactly<number>()(useLive('room:1', (room) => room?.people.length ?? 0).value, true)
  exactly<number>()(await useRpc('add').call({ a: 1 }), true)
  useCrdt('likes', 'pn-counter').increment()
  const initial: InitialStates<typeof contract> = { 'room:1': { value: { people: [] }, epoch: 'e', version: 1 } }
  void initial
  // @ts-expect-error no such key
  useLive('hall:1')
}

/** Without a contract, everything is open. */
export function openTypes (open: Hooks<object>): void {
  exactly<unknown>()(open.useLive('anything').value, true)
  exactly<number>()(createHooks().useCrdt('any', 'pn-counter').value, true)
}

/** Renders a component as a server does. */
function rendered (use: () => unknown, wrap = (children: ReactElement): ReactElement => children): string {
  return renderToString(wrap(createElement(() => JSON.stringify(use()) ?? '')))
}

t.test('react: hooks need the Provider that was made with them', async (t) => {
  const other = createHooks<typeof contract>()
  t.throws(() => rendered(() => hooks.useLive('board')), { code: 'NO_PROVIDER' })
  t.throws(() => rendered(() => hooks.useLive('board'), (children) => createElement(other.Provider, null, children)), { code: 'NO_PROVIDER' })
  t.equal(contract.version, undefined)
})

t.test('react: rendering on a server makes no client', async (t) => {
  // there is neither a page nor an URL that the options could go by
  const options = { url: 'not a URL' }
  const initial = { board: { value: { n: 7, cards: [] }, epoch: 'e', version: 3 } }
  const wrap = (children: ReactElement): ReactElement => createElement(hooks.Provider, { options, initial }, createElement(hooks.Provider, { keepMs: 0 }, children))
  const parse = (use: () => unknown): unknown => JSON.parse(rendered(use, wrap).replaceAll('&quot;', '"'))
  t.strictSame(parse(() => hooks.useLive('board', (board) => board?.n)), { value: 7, status: 'stale', version: 3 })
  t.strictSame(parse(() => hooks.useSuspenseLive('board').value), { n: 7, cards: [] })
  t.strictSame(parse(() => hooks.useLive('title')), { status: 'loading' })
  t.strictSame(parse(() => hooks.useLive(null)), { status: 'skipped' })
  t.strictSame(parse(() => hooks.useChannel('board')), { value: { n: 7, cards: [] }, isPending: false, status: 'stale' })
  t.strictSame(parse(() => hooks.useCrdt('likes', 'pn-counter')), { value: 0, isSynced: false, isPending: false })
  t.strictSame(parse(() => hooks.useConnection()), { state: 'disconnected' })
  t.strictSame(parse(() => hooks.useRpc('add')), { isPending: false })
  t.throws(() => rendered(() => hooks.useSuspenseLive('title'), wrap), { code: 'NO_INITIAL' })
  t.throws(() => rendered(() => hooks.useClient(), wrap), { code: 'INVALID_OPTION' })
})
