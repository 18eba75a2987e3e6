import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import t from 'tap'
import { WebSocket } from 'ws'
import type { DatasoleClient } from '../../lib/client/client.js'
import { Opcode } from '../../lib/protocol/opcodes.js'
import { DatasoleServer } from '../../plugins/server.js'
import { randomOf, seed } from '../helpers/random.js'
import { until } from '../helpers/until.js'
import { watch } from './dialled.js'

/** A WebSocket that offers what clients of version 2 offer. */
class Version2Socket extends WebSocket {
  constructor (url: string, protocols: string[]) { super(url, protocols.filter((name) => name !== 'datasole.v3')) }
}

/** Those that are open. */
const sockets = new Set<WebSocket>()

/** Opcodes that came, by the version of the client. */
const seen = { 2: new Map<number, number>(), 3: new Map<number, number>() }

function counting (Base: typeof WebSocket, version: 2 | 3): typeof WebSocket {
  return class extends Base {
    constructor (url: string, protocols: string[]) {
      super(url, protocols)
      sockets.add(this)
      this.on('close', () => sockets.delete(this))
      this.on('message', (data: ArrayBuffer) => {
        const opcode = new Uint8Array(data)[0]!
        seen[version].set(opcode, (seen[version].get(opcode) ?? 0) + 1)
      })
    }
  } as typeof WebSocket
}

const KEYS = ['a', 'b', 'c']
const FINAL = 'the end'

t.test('clients of versions 2 and 3 hand over the same', async (t) => {
  t.comment(`SEED=${seed}`)
  const below = randomOf(seed)
  const http = createServer()
  const ds = new DatasoleServer({ rateLimit: false, compression: { threshold: 300 } })
  ds.transport.attach(http)
  ds.rpc.register('ping', () => null)
  await ds.init()
  http.listen(0, '127.0.0.1')
  await once(http, 'listening')
  t.teardown(() => ds.close().then(() => http.close()))
  const url = `http://127.0.0.1:${(http.address() as AddressInfo).port}`
  const { live, fanout } = ds.primitives

  const sides = [2, 3].map((version) => {
    const Socket = counting(version === 2 ? Version2Socket as typeof WebSocket : WebSocket, version as 2 | 3)
    const { client, errors } = watch(t, { url, webSocket: Socket as never, useWorker: false, reconnectInterval: 5 })
    return { client: client as DatasoleClient, errors, events: [] as string[], states: new Map<string, string>(), patches: new Map<string, string>() }
  })
  for (const { client, events } of sides) {
    for (const name of ['tick', 'ünï', 'none']) client.on(name, (message) => { events.push(JSON.stringify(message)) })
    await client.connect()
  }
  const subscribed = sides.map(() => new Map<string, () => void>())
  const toggle = (key: string): void => {
    for (const [i, { client, states, patches }] of sides.entries()) {
      const end = subscribed[i]!.get(key)
      if (end !== undefined) {
        end()
        subscribed[i]!.delete(key)
        continue
      }
      subscribed[i]!.set(key, client.subscribeState(key, (value, { epoch, version }, changes) => {
        states.set(`${key} ${epoch} ${version}`, JSON.stringify(value))
        if (changes !== undefined) patches.set(`${key} ${epoch} ${version} ${changes.length}`, JSON.stringify(changes))
      }))
    }
  }
  for (const key of KEYS) {
    await live.setState(key, { n: 0, list: [{ id: 1, x: 1, y: 2 }], deep: { 'a/b': { '~': 1 } } })
    toggle(key)
  }
  await until(() => sides.every(({ client }) => KEYS.every((key) => client.getStateStatus(key) === 'live')))

  for (let i = 0; i < 2000; i++) {
    const key = KEYS[below(KEYS.length)]!
    switch (below(12)) {
      case 0: toggle(key); break
      case 1: await live.setState(key, { n: i, list: Array.from({ length: below(4) }, (_, id) => ({ id, x: i, y: 'ü'.repeat(below(200)) })), deep: { 'a/b': { '~': i } } }); break
      case 2: if (below(10) === 0) await live.deleteState(key); break
      case 3: if (below(20) === 0) for (const socket of sockets) socket.terminate(); break
      case 4: case 5: fanout.broadcast(['tick', 'ünï', 'none'][below(3)]!, below(4) === 0 ? undefined : { i, text: 'x'.repeat(below(500)) }); break
      default: {
        const isAlone = below(2) === 0
        const changed = live.update(key, (draft: any) => {
          if (draft === undefined) return { n: i, list: [], deep: { 'a/b': {} } }
          draft.n = i
          draft.deep['a/b']['~'] = i
          if (below(2) === 0) draft.list.push({ id: i, x: 1, y: 2 })
          else if (draft.list.length > 1) draft.list.unshift(draft.list.pop())
        })
        if (isAlone) await changed
        else changed.catch(() => {})
      }
    }
    if (below(3) === 0) await new Promise((resolve) => setImmediate(resolve))
  }
  for (const key of KEYS) {
    if (!subscribed[0]!.has(key)) toggle(key)
    await live.setState(key, FINAL)
  }
  // a call is answered on a connection that is there, and stays
  await until(() => sides.every(({ client }) => client.getConnectionState() === 'connected'))
  for (const { client } of sides) await until(() => client.rpc('ping').then(() => true, () => false))
  fanout.broadcast('tick', FINAL)
  await until(() => sides.every(({ client, events }) => events.at(-1)?.includes(FINAL) === true && KEYS.every((key) => client.getState(key) === FINAL)))

  const [two, three] = sides as [typeof sides[0], typeof sides[0]]
  let compared = 0
  for (const kind of ['states', 'patches'] as const) {
    for (const [at, text] of two[kind]) {
      if (!three[kind].has(at)) continue
      compared++
      if (three[kind].get(at) !== text) t.equal(three[kind].get(at), text, at)
    }
  }
  t.ok(compared > 100, `${compared} values and patches are the same`)
  const common = two.events.filter((event) => three.events.includes(event))
  t.ok(common.length > 50, `${common.length} events are the same`)
  t.strictSame(three.events.filter((event) => common.includes(event)), common, 'in the same order')
  t.ok(seen[3].get(Opcode.PATCH_COMPACT)! > 50 && seen[3].get(Opcode.EVENT_COMPACT)! > 10, 'in short')
  t.notOk(seen[2].has(Opcode.PATCH_COMPACT) || seen[2].has(Opcode.EVENT_COMPACT), 'and in full')
  for (const { errors } of sides) t.strictSame(errors.filter((error) => !/lost/.test(String(error))), [])
})
