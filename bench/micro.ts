import { EventEmitter } from 'node:events'
import { Duplex } from 'node:stream'
import { pino } from 'pino'
import { Bench } from 'tinybench'
import { decodeFrame, encodeFrame } from '../lib/protocol/frame.js'
import { Opcode } from '../lib/protocol/opcodes.js'
import type { WebSocketLike } from '../lib/server/connection.js'
import { type Core } from '../lib/server/core.js'
import { Datasole, createCore } from '../lib/server/datasole.js'
import { encodeMessage } from '../lib/server/encoding.js'
import { records } from './records.js'

/** A WebSocket without a network: what is written is dropped. */
class FakeSocket extends EventEmitter implements WebSocketLike {
  readonly raw = new Duplex({ read () {}, write: (_chunk, _encoding, done) => { done() }, writev: (_chunks, done) => { done() } })
  close (): void { this.emit('close', 1000) }
  terminate (): void { this.close() }
}

async function connect (core: Core): Promise<FakeSocket> {
  const socket = new FakeSocket()
  core.accept(socket, socket.raw, await core.admit({ auth: { authenticated: true }, remoteAddress: '', protocol: 2 }))
  return socket
}

function server (): { core: Core, ds: Datasole } {
  const core = createCore({ rateLimit: false }, pino({ level: 'silent' }))
  return { core, ds: new Datasole(core) }
}

const nextTurn = (): Promise<void> => new Promise((resolve) => { setImmediate(resolve) })

/** What the parts of the hot path cost, without a network. */
export async function micro (): Promise<Bench> {
  const bench = new Bench({ time: 500, warmupTime: 100 })
  const json = JSON.stringify({ method: 'echo', params: { text: 'hello', n: 1 }, correlationId: 7 })
  const frame = Buffer.from(encodeFrame(Opcode.RPC_REQ, 7, Buffer.from(json)))

  bench.add('encode a frame of 60 bytes', () => { encodeMessage(Opcode.RPC_RES, 7, json, 1024) })
  bench.add('decode it', () => { JSON.parse(Buffer.from(decodeFrame(frame).payload).toString()) })

  const rpc = server()
  rpc.ds.rpc.register('echo', (params) => params)
  const caller = await connect(rpc.core)
  bench.add('dispatch an RPC, 100 in a tick (each)', async () => {
    for (let i = 0; i < 100; i++) caller.emit('message', frame, true)
    await nextTurn()
  })

  for (const [name, count] of [['100 KB', 1000], ['10 MB', 100_000]] as const) {
    const { ds } = server()
    const value = { records: records(count) }
    await ds.primitives.live.setState('state', value)
    let n = 0
    bench.add(`commit one field of ${name} by update`, async () => {
      await ds.primitives.live.update('state', (draft) => { (draft as typeof value & { records: Array<{ value: number }> }).records[500]!.value = ++n })
    })
    if (count > 1000) continue
    const changed = structuredClone(value) as { records: Array<{ value: number }> }
    bench.add(`commit one field of ${name} by setState`, async () => {
      changed.records[500]!.value = --n
      await ds.primitives.live.setState('state', changed)
    })
  }

  const fan = server()
  for (let i = 0; i < 1000; i++) await connect(fan.core)
  bench.add('fan-out of an event to 1,000 connections', async () => {
    fan.ds.primitives.fanout.broadcast('tick', 'x'.repeat(48))
    for (let i = 0; i < 9; i++) await nextTurn()
  })
  await bench.run()
  return bench
}
