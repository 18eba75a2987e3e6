import { deflateSync } from 'node:zlib'
import t from 'tap'
import { varintSize, writeVarint } from '../../lib/protocol/compact.js'
import { Opcode } from '../../lib/protocol/opcodes.js'
import { until } from '../helpers/until.js'
import { dial, watch } from './dialled.js'
import { type Peer, listen } from './peer.js'

/** A compact frame; its text need not be JSON. */
function compact (opcode: number, first: number, second: number, text: string): Buffer {
  const head = Buffer.alloc(1 + varintSize(first) + varintSize(second), opcode)
  writeVarint(head, writeVarint(head, 1, first), second)
  return Buffer.concat([head, Buffer.from(text)])
}

/** A compact patch that replaces the value. */
function replace (peer: Peer, number: number, value: unknown, versions = 1): void {
  peer.socket.send(compact(Opcode.PATCH_COMPACT, number, versions, JSON.stringify(['r', value])))
}

function snapshot (peer: Peer, id: number, key: string, version: number, n: number, data: unknown): void {
  peer.send(Opcode.STATE_SNAPSHOT, id, { key, epoch: 'e', version, n, data })
}

const UNREADABLE: Record<string, Buffer> = {
  'JSON that is none': compact(Opcode.PATCH_COMPACT, 7, 1, '["r",'),
  'UTF-8 that is none': Buffer.concat([compact(Opcode.PATCH_COMPACT, 7, 1, '["r","'), Buffer.from([0xff]), Buffer.from('"]')]),
  'numbers that end too soon': Buffer.from([Opcode.PATCH_COMPACT, 0x87]),
  'operations that are none': compact(Opcode.PATCH_COMPACT, 7, 1, '["x"]'),
  'no operations': compact(Opcode.PATCH_COMPACT, 7, 1, ''),
  'a stream that is cut off': deflateSync(compact(Opcode.PATCH_COMPACT, 7, 1, '["r",2]')).subarray(0, 8),
  'a long patch that is none': Buffer.from([Opcode.STATE_PATCH, 0, 0, 0, 0, 0, 0, 0, 1, 0x7b])
}

for (const [name, frame] of Object.entries(UNREADABLE)) {
  t.test(`after ${name} a compact patch is a gap`, async (t) => {
    const { client, peer, errors } = await dial(t)
    const values: unknown[] = []
    client.subscribeState('k', (value) => { values.push(value) })
    snapshot(peer, (await peer.next(Opcode.SUBSCRIBE)).id, 'k', 1, 7, 1)
    peer.socket.send(frame) // took the key to version 2
    replace(peer, 7, 3)
    const again = await peer.next(Opcode.SUBSCRIBE)
    t.strictSame(again.payload, { key: 'k', epoch: 'e', version: 1 })
    t.equal(errors.length, 1)
    peer.send(Opcode.STATE_PATCH, again.id, { key: 'k', epoch: 'e', from: 1, version: 3, n: 7, patches: [{ op: 'replace', path: '', value: 3 }] })
    replace(peer, 7, 5, 2)
    await until(() => client.getState('k') === 5)
    t.strictSame(values, [1, 3, 5])
  })
}

t.test('a number that came in an unreadable frame is asked for, once', async (t) => {
  const { client, peer, errors } = await dial(t)
  const values: unknown[] = []
  client.subscribeState('k', (value) => { values.push(value) })
  snapshot(peer, (await peer.next(Opcode.SUBSCRIBE)).id, 'k', 1, 7, 1)
  replace(peer, 8, 'of another key')
  peer.socket.send(Buffer.from([Opcode.STATE_SNAPSHOT, 0, 0, 0, 0, 0, 0, 0, 1, 0x7b])) // the number of the key is 8 now
  replace(peer, 8, 3)
  replace(peer, 8, 4)
  const again = await peer.next(Opcode.SUBSCRIBE)
  t.strictSame(again.payload, { key: 'k', epoch: 'e', version: 1 })
  snapshot(peer, again.id, 'k', 4, 8, 4)
  replace(peer, 8, 5)
  replace(peer, 9, 'of another key')
  replace(peer, 8, 6)
  await until(() => client.getState('k') === 6)
  t.strictSame(values, [1, 4, 5, 6])
  t.equal(errors.length, 1)
  t.strictSame(peer.received, [])
})

t.test('a compact patch leads on from the message before it, long or short', async (t) => {
  const { client, peer } = await dial(t)
  const heads: unknown[] = []
  client.subscribeState('k', (value, { version }) => { heads.push([value, version]) })
  snapshot(peer, (await peer.next(Opcode.SUBSCRIBE)).id, 'k', 1, 7, 1)
  peer.send(Opcode.STATE_PATCH, 0, { key: 'k', epoch: 'e', from: 1, version: 4, n: 7, patches: [{ op: 'replace', path: '', value: 4 }] })
  replace(peer, 7, 6, 2)
  snapshot(peer, 0, 'k', 9, 300, 9)
  replace(peer, 300, 10)
  await until(() => heads.length === 5)
  t.strictSame(heads, [[1, 1], [4, 4], [6, 6], [9, 9], [10, 10]])
  replace(peer, 7, 'of the number before')
  replace(peer, 300, 11)
  await until(() => heads.length === 6)
  t.strictSame(heads.at(-1), [11, 11])
})

t.test('another server gives the numbers to other keys', async (t) => {
  const server = await listen(t)
  const { client } = watch(t, { url: server.url })
  for (const key of ['a', 'b']) client.subscribeState(key, () => {})
  void client.connect()
  const numbered = async (numbers: Record<string, number>): Promise<Peer> => {
    const peer = (await server.accept()).welcome()
    const asked = [await peer.next(Opcode.SUBSCRIBE), await peer.next(Opcode.SUBSCRIBE)]
    for (const { id, payload: { key } } of asked) snapshot(peer, id, key, 1, numbers[key]!, key)
    return peer
  }
  const first = await numbered({ a: 1, b: 2 })
  replace(first, 1, 'a2')
  await until(() => client.getState('a') === 'a2')
  first.socket.terminate()
  const second = (await server.accept()).welcome()
  const asked = [await second.next(Opcode.SUBSCRIBE), await second.next(Opcode.SUBSCRIBE)]
  replace(second, 1, 'of a number that this connection has not had')
  // b takes over the number of a before a has another
  for (const { id, payload: { key } } of asked.toReversed()) second.send(Opcode.STATE_SNAPSHOT, id, { key, epoch: 'e2', version: 1, n: key === 'b' ? 1 : 3, data: `${key} of e2` })
  replace(second, 1, 'b2')
  replace(second, 3, 'a2 of e2')
  await until(() => client.getState('a') === 'a2 of e2')
  t.equal(client.getState('b'), 'b2')
  t.strictSame(second.received, [], 'and nothing is asked for again')
})

t.test('a number ends with its subscription', async (t) => {
  const { client, peer, errors } = await dial(t)
  const end = client.subscribeState('k', () => {})
  snapshot(peer, (await peer.next(Opcode.SUBSCRIBE)).id, 'k', 1, 7, 1)
  await until(() => client.getState('k') === 1)
  end()
  const values: unknown[] = []
  client.subscribeState('k', (value) => { values.push(value) })
  await peer.next(Opcode.UNSUBSCRIBE)
  const { id } = await peer.next(Opcode.SUBSCRIBE)
  // on their way; the second is a gap for a client that still knows the number
  peer.socket.send(compact(Opcode.PATCH_COMPACT, 7, 1, '["x"]'))
  replace(peer, 7, 'more')
  snapshot(peer, id, 'k', 5, 8, 5)
  replace(peer, 8, 6)
  replace(peer, 7, 'of the number before')
  replace(peer, 8, 7)
  await until(() => client.getState('k') === 7)
  t.strictSame(values, [5, 6, 7])
  t.strictSame([peer.received, errors], [[], []])
})

t.test('an event of a number without a name is reported; a new connection has numbers of its own', async (t) => {
  const server = await listen(t)
  const { client, errors } = watch(t, { url: server.url })
  const events: object[] = []
  for (const name of ['a', 'b']) client.on(name, (event) => { events.push(event) })
  const begin = async (at: number): Promise<Peer> => {
    const peer = await server.accept()
    peer.send(Opcode.WELCOME, 0, { protocol: 3, at, connectionId: 'c', heartbeatMs: 60_000, maxPayload: 1000 })
    return peer
  }
  void client.connect()
  const first = await begin(1000)
  first.send(Opcode.EVENT_S2C, 0, { event: 'a', data: 1, timestamp: 5, n: 0 })
  first.socket.send(compact(Opcode.EVENT_COMPACT, 0, 6, '2'))
  first.socket.send(compact(Opcode.EVENT_COMPACT, 0, 2 ** 34, ''))
  await until(() => events.length === 3)
  t.strictSame(events.splice(0), [{ event: 'a', data: 1, timestamp: 5 }, { event: 'a', data: 2, timestamp: 1006 }, { event: 'a', timestamp: 1000 + 2 ** 34 }])
  first.socket.terminate()
  const second = await begin(2000)
  errors.length = 0
  second.socket.send(compact(Opcode.EVENT_COMPACT, 0, 6, '3'))
  second.send(Opcode.EVENT_S2C, 0, { event: 'b', data: null, timestamp: 7, n: 0 })
  second.socket.send(compact(Opcode.EVENT_COMPACT, 0, 6, 'null'))
  await until(() => events.length === 2)
  t.strictSame(events, [{ event: 'b', data: null, timestamp: 7 }, { event: 'b', data: null, timestamp: 2006 }])
  t.match(errors, [{ code: 'BAD_FRAME' }])
  t.equal(errors.length, 1)
})
