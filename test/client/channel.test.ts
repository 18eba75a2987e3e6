import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import type { Channel } from '../../lib/client/client.js'
import type { ChannelInfo, Operation } from '../../lib/protocol/messages.js'
import { Opcode } from '../../lib/protocol/opcodes.js'
import { applyPatch } from '../../lib/protocol/patch.js'
import { type CardBoard, cardBoard, movedBoard, movingRecipe } from '../helpers/moving-recipe.js'
import type { Received } from '../helpers/wire.js'
import { type Watched, dial, watch } from './dialled.js'
import { type Peer, listen } from './peer.js'
import { until } from '../helpers/until.js'

interface Value { n: number, list?: string[], a?: { b: number } }
interface AppContract { state: { k: Value } }

const BOTH: ChannelInfo = { direction: 'bidirectional', mode: 'json-patch' }

function snapshot (peer: Peer, id: number, version: number, data?: unknown, channel: ChannelInfo | undefined = BOTH, epoch = 'e'): void {
  peer.send(Opcode.STATE_SNAPSHOT, id, { key: 'k', epoch, version, data, channel })
}

function patch (peer: Peer, from: number, version: number, patches: Operation[]): void {
  peer.send(Opcode.STATE_PATCH, 0, { key: 'k', epoch: 'e', from, version, patches })
}

function ack (peer: Peer, { id }: Received, version: number, epoch = 'e'): void {
  peer.send(Opcode.STATE_ACK, id, { key: 'k', epoch, version })
}

function refuse (peer: Peer, { id }: Received, code: string, retryAfter?: number): void {
  peer.send(Opcode.ERROR, id, { code, message: 'no', key: 'k', retryAfter })
}

const replace = (path: string, value: unknown): Operation[] => [{ op: 'replace', path, value }]

interface Open extends Watched<AppContract> { peer: Peer, channel: Channel<Value>, seen: unknown[], sees: (n: number) => Promise<void> }

/** A channel whose value the server has told. */
async function open (t: Parameters<typeof dial>[0], channelInfo: ChannelInfo = BOTH, value: unknown = { n: 1 }): Promise<Open & { server: Awaited<ReturnType<typeof listen>> }> {
  const dialled = await dial(t)
  const client = dialled.client as unknown as Watched<AppContract>['client']
  const channel = client.channel('k')
  const seen: unknown[] = []
  channel.subscribe((value) => {
    seen.push(value)
  })
  snapshot(dialled.peer, (await dialled.peer.next(Opcode.SUBSCRIBE)).id, 1, value, channelInfo)
  const sees = async (n: number): Promise<void> => { await until(() => (seen.at(-1) as Value | undefined)?.n === n) }
  await until(() => seen.length !== 0)
  return { ...dialled, client, channel, seen, sees }
}

t.test('channel: changes show at once; what one tick changed is one push, and one is on its way', async (t) => {
  const { channel, peer, seen, errors } = await open(t)
  channel.update((draft) => { draft!.n++ })
  channel.update((draft) => { draft!.n++ })
  channel.update(() => {})
  t.strictSame(seen, [{ n: 1 }, { n: 2 }, { n: 3 }])
  t.equal(channel.pending, 2)
  const first = await peer.next(Opcode.STATE_PUSH)
  t.match(first.payload, { key: 'k', epoch: 'e', base: 1, patches: [...replace('/n', 2), ...replace('/n', 3)], push: { client: /^\w{10,64}$/, seq: 1 } })
  channel.update((draft) => { draft!.n = 10 })
  await sleep(5)
  channel.update((draft) => { draft!.n = 11 })
  t.equal(peer.received.length, 0, 'the others wait')
  ack(peer, first, 2)
  const second = await peer.next(Opcode.STATE_PUSH)
  t.match(second.payload, { base: 2, patches: [...replace('/n', 10), ...replace('/n', 11)], push: { client: first.payload.push.client, seq: 2 } })
  // the patch of the first one, late: known
  patch(peer, 1, 2, replace('/n', 3))
  ack(peer, second, 3)
  await channel.saved()
  ack(peer, second, 3)
  t.strictSame(channel.get(), { n: 11 })
  t.strictSame(seen.at(-1), { n: 11 })
  t.strictSame(errors, [])
})

t.test('channel: what the server has of others is below what it does not have of ours', async (t) => {
  const { channel, peer, sees, seen } = await open(t, BOTH, { n: 1, list: [] })
  channel.update((draft) => { draft!.list!.push('mine') })
  const push = await peer.next(Opcode.STATE_PUSH)
  patch(peer, 1, 2, replace('/n', 2))
  await sees(2)
  t.strictSame(channel.get(), { n: 2, list: ['mine'] })
  // others' changes came before it that this client has not heard of yet: no version to count from
  ack(peer, push, 5)
  await channel.saved()
  t.strictSame(channel.get(), { n: 2, list: ['mine'] }, 'it stays on top')
  channel.update((draft) => { draft!.a = { b: 1 } })
  const next = await peer.next(Opcode.STATE_PUSH)
  t.match(next.payload, { base: 2, patches: [{ op: 'add', path: '/a', value: { b: 1 } }] })
  patch(peer, 2, 5, [...replace('/n', 5), { op: 'add', path: '/list/0', value: 'theirs' }, { op: 'add', path: '/list/1', value: 'mine' }])
  await sees(5)
  t.strictSame(channel.get(), { n: 5, list: ['theirs', 'mine'], a: { b: 1 } }, 'until a patch covers it')
  ack(peer, next, 6)
  await channel.saved()
  t.equal(seen.at(-1), channel.get())
})

t.test('a conflict: the changes are made again on what others did', async (t) => {
  const { channel, peer, sees, errors } = await open(t, BOTH, { n: 1, a: { b: 1 } })
  channel.update((draft) => { draft!.n++ })
  channel.update((draft) => { draft!.a!.b = 7 })
  const first = await peer.next(Opcode.STATE_PUSH)
  refuse(peer, first, 'CONFLICT')
  await sleep(5)
  t.equal(peer.received.length, 0, 'the value is on its way')
  snapshot(peer, 0, 4, { n: 41 })
  await sees(42)
  const second = await peer.next(Opcode.STATE_PUSH)
  t.match(second.payload, { base: 4, patches: replace('/n', 42), push: { seq: 2 } })
  t.equal(second.payload.patches.length, 1)
  t.match(errors, [{ code: 'CONFLICT', message: /does not apply to the newer value/ }], 'a change that cannot be made again is dropped, and reported')
  refuse(peer, second, 'CONFLICT')
  snapshot(peer, 0, 5, { n: 50 })
  const third = await peer.next(Opcode.STATE_PUSH)
  t.match(third.payload, { base: 5, patches: replace('/n', 51) })
  ack(peer, third, 6)
  await channel.saved()
  t.strictSame(channel.get(), { n: 51 })
  t.equal(errors.length, 1)
})

t.test('channel: a refusal takes the change back, and says why', async (t) => {
  const { channel, peer, sees, errors } = await open(t)
  channel.update((draft) => { draft!.n = 100 })
  const push = await peer.next(Opcode.STATE_PUSH)
  channel.update((draft) => { draft!.list = ['kept'] })
  refuse(peer, push, 'INVALID_VALUE')
  await sees(1)
  t.strictSame(channel.get(), { n: 1, list: ['kept'] })
  t.match(errors, [{ code: 'INVALID_VALUE', message: 'a change of "k" was refused: no' }])
  ack(peer, await peer.next(Opcode.STATE_PUSH), 2)
  await channel.saved()
})

t.test('channel: of what was joined, only the tick that the server does not take is lost', async (t) => {
  const { channel, errors, client, server } = await open(t)
  await client.disconnect()
  for (const n of [2, 3, 4]) {
    channel.update((draft) => { draft!.n = n })
    channel.update((draft) => { draft!.list = [...draft!.list ?? [], `${n}`] })
    await sleep(1)
  }
  const connected = client.connect()
  const next = (await server.accept()).welcome()
  await connected
  snapshot(next, (await next.next(Opcode.SUBSCRIBE)).id, 5, { n: 1 })
  const all = await next.next(Opcode.STATE_PUSH)
  t.equal(all.payload.patches.length, 6)
  refuse(next, all, 'INVALID_VALUE')
  const answer = async (patches: unknown[], version: number | undefined): Promise<void> => {
    const push = await next.next(Opcode.STATE_PUSH)
    t.match(push.payload.patches, patches)
    t.equal(push.payload.patches.length, 2, 'what one tick changed stays together')
    if (version === undefined) refuse(next, push, 'INVALID_VALUE')
    else ack(next, push, version)
  }
  await answer([{ path: '/n', value: 2 }, { path: '/list' }], 6)
  await answer([{ path: '/n', value: 3 }, { path: '/list/1', value: '3' }], undefined)
  await answer([{ path: '/n', value: 4 }, { path: '/list/1', value: '4' }], 7)
  await channel.saved()
  t.strictSame(channel.get(), { n: 4, list: ['2', '4'] })
  t.match(errors, [{ code: 'INVALID_VALUE' }])
  t.equal(errors.length, 1)
})

t.test('channel: a recipe edits what it has moved, and what the handlers saw stays as it was', async (t) => {
  const { channel, peer, seen } = await open(t, BOTH, { ...cardBoard, n: 1 })
  channel.update((draft) => { movingRecipe(draft as unknown as CardBoard) })
  t.same(seen, [{ ...cardBoard, n: 1 }, { ...movedBoard, n: 1 }])
  const { payload } = await peer.next(Opcode.STATE_PUSH)
  t.same(applyPatch({ ...cardBoard, n: 1 }, payload.patches), { ...movedBoard, n: 1 })
})

t.test('channel: much that waited is more than one push', async (t) => {
  const { channel, peer } = await open(t)
  channel.update((draft) => { draft!.n = 2 })
  const first = await peer.next(Opcode.STATE_PUSH)
  for (let i = 0; i < 8; i++) {
    channel.update((draft) => { draft!.list = [...draft!.list ?? [], `${i}`.padEnd(100_000, 'x')].slice(-1) })
    await sleep(1)
  }
  ack(peer, first, 2)
  let version = 3
  for (let sent = 0; sent < 8; version++) {
    const push = await peer.next(Opcode.STATE_PUSH)
    t.ok(push.payload.patches.length <= 4)
    sent += push.payload.patches.length
    ack(peer, push, version)
  }
  await channel.saved()
  t.match(channel.get()!.list![0], /^7x/)
})

t.test('channel: where the server has no time, the very same again', async (t) => {
  const { channel, peer } = await open(t)
  channel.update((draft) => { draft!.n++ })
  const first = await peer.next(Opcode.STATE_PUSH)
  channel.update((draft) => { draft!.n++ })
  refuse(peer, first, 'BUSY', 10)
  const again = await peer.next(Opcode.STATE_PUSH)
  t.strictSame(again.payload, first.payload)
  t.not(again.id, first.id)
  ack(peer, again, 2)
  ack(peer, await peer.next(Opcode.STATE_PUSH), 3)
  await channel.saved()
})

t.test('channel: what was not answered is sent again as it was, before the key is asked for', async (t) => {
  const { channel, peer, server, client, errors } = await open(t)
  channel.update((draft) => { draft!.n++ })
  const first = await peer.next(Opcode.STATE_PUSH)
  peer.socket.terminate()
  const next = (await server.accept()).welcome()
  await next.until(({ received }) => received.length === 2)
  t.strictSame(next.received.map(({ opcode }) => opcode), [Opcode.STATE_PUSH, Opcode.SUBSCRIBE])
  const again = await next.next(Opcode.STATE_PUSH)
  t.strictSame(again.payload, first.payload)
  channel.update((draft) => { draft!.n++ })
  ack(next, again, 2)
  const { id, payload } = await next.next(Opcode.SUBSCRIBE)
  t.match(payload, { version: 1 })
  next.send(Opcode.STATE_PATCH, id, { key: 'k', epoch: 'e', from: 1, version: 2, patches: replace('/n', 2), channel: BOTH })
  const more = await next.next(Opcode.STATE_PUSH)
  t.match(more.payload, { base: 2, patches: replace('/n', 3), push: { seq: 2 } })
  ack(next, more, 3)
  await channel.saved()
  t.strictSame(channel.get(), { n: 3 })
  await client.disconnect()
  channel.set({ n: 9 })
  t.equal(channel.pending, 1)
  const connected = client.connect()
  const last = (await server.accept()).welcome()
  await connected
  const asked = await last.next(Opcode.SUBSCRIBE)
  last.send(Opcode.STATE_PATCH, asked.id, { key: 'k', epoch: 'e', from: 2, version: 3, patches: replace('/n', 3), channel: BOTH })
  ack(last, await last.next(Opcode.STATE_PUSH), 4)
  await channel.saved()
  t.strictSame(channel.get(), { n: 9 })
  t.strictSame(errors, [])
})

t.test('channel: changes before the value is known wait for it; a whole one shows at once', async (t) => {
  const dialled = await dial(t)
  const channel = (dialled.client as unknown as Watched<AppContract>['client']).channel('k')
  const seen: unknown[] = []
  channel.subscribe((value) => { seen.push(value) })
  channel.update((draft) => { draft!.n++ })
  t.equal(channel.get(), undefined)
  const { id } = await dialled.peer.next(Opcode.SUBSCRIBE)
  t.strictSame(seen, [])
  channel.set({ n: 5 })
  t.equal(channel.pending, 1, 'what is overwritten need not be sent')
  channel.update((draft) => { draft!.n++ })
  t.strictSame(channel.get(), { n: 6 })
  snapshot(dialled.peer, id, 3, { n: 1 })
  const push = await dialled.peer.next(Opcode.STATE_PUSH)
  t.match(push.payload, { base: 3, patches: [...replace('/n', 5), ...replace('/n', 6)] })
  ack(dialled.peer, push, 4)
  await channel.saved()
  t.strictSame(seen, [{ n: 5 }, { n: 6 }], 'and not what it never was here')
})

t.test('channel: the outbox is bounded; mistakes are the caller\'s', async (t) => {
  const { channel, peer } = await open(t)
  t.throws(() => { channel.update((draft) => { draft!.n = 5; throw new Error('mine') }) }, /mine/)
  t.throws(() => { channel.set(1n as never) }, { code: 'INVALID_JSON' })
  t.throws(() => { channel.update((async () => {}) as never) }, { code: 'ASYNC_RECIPE' })
  t.strictSame(channel.get(), { n: 1 })
  t.throws(() => { channel.update((draft) => { draft!.list = ['x'.repeat(4 * 1024 * 1024)] }) }, { code: 'BUSY' })
  for (let i = 0; i < 1000; i++) channel.update((draft) => { draft!.n++ })
  t.throws(() => { channel.update((draft) => { draft!.n++ }) }, { code: 'BUSY' })
  t.equal(channel.get()!.n, 1001)
  const push = await peer.next(Opcode.STATE_PUSH)
  t.equal(push.payload.patches.length, 1000)
})

t.test('channel: what is too large for the server is dropped, and reported', async (t) => {
  const { channel, errors, until, sees } = await open(t)
  channel.update((draft) => { draft!.n = 2; draft!.list = Array.from({ length: 200_000 }, () => Math.random().toString(36)) })
  await until(() => errors.length > 0)
  t.match(errors, [{ code: 'PAYLOAD_TOO_LARGE' }])
  await sees(1)
  t.equal(channel.pending, 0)
})

t.test('mode snapshot: the whole value', async (t) => {
  const { channel, peer } = await open(t, { direction: 'bidirectional', mode: 'snapshot' })
  channel.update((draft) => { draft!.n++ })
  const push = await peer.next(Opcode.STATE_PUSH)
  t.match(push.payload, { key: 'k', data: { n: 2 }, push: { seq: 1 } })
  t.notOk('patches' in push.payload || 'base' in push.payload)
  ack(peer, push, 2)
  await channel.saved()
  t.strictSame(channel.get(), { n: 2 })
})

t.test('client-to-server: a new connection gets all that the last one had', async (t) => {
  const info: ChannelInfo = { direction: 'client-to-server', mode: 'json-patch' }
  const { channel, peer, server } = await open(t, info)
  channel.update((draft) => { draft!.n = 2 })
  ack(peer, await peer.next(Opcode.STATE_PUSH), 2)
  await channel.saved()
  channel.update((draft) => { draft!.list = ['new'] })
  await peer.next(Opcode.STATE_PUSH)
  peer.socket.terminate()
  const next = (await server.accept()).welcome()
  const { id } = await next.next(Opcode.SUBSCRIBE)
  t.equal(next.received.length, 0)
  snapshot(next, id, 1, { n: 1 }, info, 'another')
  const push = await next.next(Opcode.STATE_PUSH)
  t.match(push.payload, { epoch: 'another', base: 1, patches: [...replace('/n', 2), { op: 'add', path: '/list', value: ['new'] }] })
  t.strictSame(channel.get(), { n: 2, list: ['new'] })
  ack(next, push, 2, 'another')
  await channel.saved()
})

t.test('channel: a key that takes no changes says so', async (t) => {
  for (const info of [undefined, { direction: 'server-to-client', mode: 'json-patch' }] as Array<ChannelInfo | undefined>) {
    const { peer, client, errors, until } = await dial(t)
    const channel = client.channel('k') as unknown as Channel<Value>
    channel.set({ n: 2 })
    peer.send(Opcode.STATE_SNAPSHOT, (await peer.next(Opcode.SUBSCRIBE)).id, { key: 'k', epoch: 'e', version: 1, data: { n: 1 }, channel: info })
    await until(() => errors.length > 0)
    t.match(errors, [{ code: 'UNKNOWN_KEY' }])
    t.strictSame(channel.get(), { n: 1 })
    t.throws(() => { channel.set({ n: 3 }) }, { code: 'UNKNOWN_KEY' })
    await channel.saved()
  }
})

t.test('channel: a key that may not be seen', async (t) => {
  const { peer, client, errors, until } = await dial(t)
  const channel = client.channel('k')
  channel.set(1)
  refuse(peer, await peer.next(Opcode.SUBSCRIBE), 'FORBIDDEN')
  await until(() => errors.length > 0)
  t.match(errors, [{ code: 'FORBIDDEN' }])
  await channel.saved()
})

t.test('the end of a channel sends what waits, and leaves nothing behind', async (t) => {
  const { channel, client, peer, seen } = await open(t)
  t.equal(client.channel('k'), channel)
  channel.update((draft) => { draft!.n++ })
  channel.close()
  t.throws(() => { channel.update((draft) => { draft!.n++ }) }, { code: 'CLOSED' })
  const push = await peer.next(Opcode.STATE_PUSH)
  t.equal(client.channel('k'), channel, 'while something waits it can be had back')
  channel.close()
  ack(peer, push, 2)
  await peer.next(Opcode.UNSUBSCRIBE)
  const next = client.channel('k')
  t.not(next, channel)
  channel.close()
  t.equal(client.channel('k'), next, 'which ends once')
  t.match(await peer.next(Opcode.SUBSCRIBE), { payload: { key: 'k' } })
  t.strictSame(seen, [{ n: 1 }, { n: 2 }])
})

t.test('channel: beside a mirror of the same key', async (t) => {
  const server = await listen(t)
  const { client } = watch<AppContract>(t, { url: server.url })
  const connected = client.connect()
  const peer = (await server.accept()).welcome()
  await connected
  const mirrored: unknown[] = []
  client.subscribeState('k', (value) => { mirrored.push(value) })
  snapshot(peer, (await peer.next(Opcode.SUBSCRIBE)).id, 1, { n: 1 })
  await until(() => mirrored.length !== 0)
  const channel = client.channel('k')
  const { id, payload } = await peer.next(Opcode.SUBSCRIBE)
  t.match(payload, { version: 1 })
  peer.send(Opcode.STATE_PATCH, id, { key: 'k', epoch: 'e', from: 1, version: 1, patches: [], channel: BOTH })
  channel.update((draft) => { draft!.n++ })
  const push = await peer.next(Opcode.STATE_PUSH)
  ack(peer, push, 2)
  await channel.saved()
  t.strictSame(mirrored, [{ n: 1 }], 'a mirror has what the server said')
  patch(peer, 1, 2, replace('/n', 2))
  await until(() => mirrored.length >= 2)
  t.strictSame(mirrored[1], channel.get())
  channel.close()
  await sleep(5)
  t.equal(peer.received.length, 0, 'which goes on')
})
