import t from 'tap'
// @ts-expect-error -- its types leave it out
import { Receiver } from 'ws'
import { Opcode } from '../../lib/protocol/opcodes.js'
import { takeWholeMessages } from '../../lib/server/connection/whole-messages.js'
import { entrances } from '../helpers/entrances.js'
import { randomOf, seed } from '../helpers/random.js'
import { webSocketFrame } from '../helpers/raw.js'
import { encode } from '../helpers/wire.js'

interface Peer { write: (chunk: Buffer) => boolean, on: (event: string, listener: (...args: unknown[]) => void) => void, emit: () => void }

/** All that a receiver makes of some chunks, of which three come in each turn. */
async function events (isTaken: boolean, chunks: Buffer[]): Promise<unknown[]> {
  const receiver = new Receiver({ isServer: true, maxPayload: 2000 }) as Peer
  if (isTaken) takeWholeMessages({ _receiver: receiver })
  const heard: unknown[] = []
  let isOpen = true
  for (const event of ['message', 'ping', 'pong', 'conclude']) receiver.on(event, (...args) => { heard.push([event, ...args.map((arg) => Buffer.isBuffer(arg) ? arg.toString('hex') : arg)]) })
  receiver.on('error', (error) => { isOpen = false; heard.push((error as { code: string }).code) })
  receiver.on('conclude', () => { isOpen = false })
  for (const [i, chunk] of chunks.entries()) {
    // as ws does, which takes its listener away
    if (isOpen) receiver.write(Buffer.from(chunk))
    if (i % 3 === 2) await new Promise(setImmediate)
  }
  await new Promise(setImmediate)
  return heard
}

function masked (frame: Buffer, mask: number): Buffer {
  const start = (frame[1]! & 0x7f) === 126 ? 8 : 6
  const bytes = Buffer.from(frame)
  bytes.writeUInt32BE(mask, start - 4)
  for (let i = start; i < bytes.length; i++) bytes[i]! ^= bytes[start - 4 + (i - start) % 4]!
  return bytes
}

t.test(`whole messages: a receiver with and without the shortcut hear the same, however the bytes are cut (SEED=${seed})`, async (t) => {
  const random = randomOf(seed)
  let whole = 0
  for (let round = 0; round < 400; round++) {
    const frames: Buffer[] = []
    for (let i = random(12); i >= 0; i--) {
      const kind = random(30)
      const size = [random(20), random(140), random(1100), 125, 126, 127, 1023, 1024, 1025, 2000][random(10)]!
      const payload = Buffer.from(Array.from({ length: size }, () => random(256)))
      const mask = random(2) * random(2 ** 32)
      if (kind < 18) frames.push(masked(webSocketFrame(payload), mask))
      else if (kind < 21) frames.push(masked(webSocketFrame(payload.subarray(0, 9), { fin: false }), mask), webSocketFrame(Buffer.from('x'), { opcode: 9 }), masked(webSocketFrame(payload, { opcode: 0 }), mask))
      else if (kind < 24) frames.push(masked(webSocketFrame(payload.subarray(0, 100), { opcode: 9 + random(2) }), mask))
      else if (kind < 27) frames.push(webSocketFrame(Buffer.from('text'), { opcode: 1 }))
      else if (round % 4 > 0) frames.push(webSocketFrame(payload))
      else frames.push([webSocketFrame(Buffer.from([3, 232]), { opcode: 8 }), webSocketFrame(payload, { masked: false }), webSocketFrame(payload, { rsv: 4 }), webSocketFrame(Buffer.alloc(2001)), webSocketFrame(payload, { opcode: 0 })][random(5)]!)
    }
    const bytes = Buffer.concat(frames)
    const chunks: Buffer[] = []
    if (round % 3 === 0) chunks.push(...frames)
    else for (let at = 0; at < bytes.length;) chunks.push(bytes.subarray(at, at += 1 + random(round % 3 === 1 ? 40 : 3000)))
    const expected = await events(false, chunks)
    whole += expected.length
    t.strictSame(await events(true, chunks), expected, `round ${round}`)
  }
  t.ok(whole > 1000, `${whole} events`)
})

t.test('whole messages: nothing comes after an error of the same turn', async (t) => {
  for (const isTaken of [false, true]) {
    const receiver = new Receiver({ isServer: true }) as Peer
    if (isTaken) takeWholeMessages({ _receiver: receiver })
    let messages = 0
    receiver.on('message', () => { messages++ })
    const error = new Promise((resolve) => { receiver.on('error', resolve) })
    receiver.write(webSocketFrame(Buffer.from('good')))
    receiver.write(webSocketFrame(Buffer.alloc(1), { opcode: 0 }))
    receiver.write(webSocketFrame(Buffer.from('too late')))
    await error
    t.equal(messages, 1)
  }
})

t.test('whole messages: bytes that arrive while a message is handled wait for those before them', async (t) => {
  for (const isTaken of [false, true]) {
    const receiver = new Receiver({ isServer: true }) as Peer
    if (isTaken) takeWholeMessages({ _receiver: receiver })
    const messages: string[] = []
    receiver.on('message', (data) => {
      messages.push(String(data))
      if (messages.length === 1) receiver.write(webSocketFrame(Buffer.from('third')))
    })
    receiver.write(Buffer.concat([webSocketFrame(Buffer.from('first')), webSocketFrame(Buffer.from('second'))]))
    await new Promise(setImmediate)
    t.strictSame(messages, ['first', 'second', 'third'])
  }
})

t.test('whole messages: a receiver of another kind is left alone', async (t) => {
  const receiver = new Receiver({ isServer: true, allowSynchronousEvents: false })
  const { _write } = receiver
  takeWholeMessages({ _receiver: receiver })
  t.equal(receiver._write, _write)
  for (const socket of [{}, { _receiver: undefined }, { _receiver: { _write: 1 } }]) {
    const before = JSON.stringify(socket)
    takeWholeMessages(socket)
    t.equal(JSON.stringify(socket), before)
  }
})

for (const [entrance, start] of entrances) {
  t.test(`whole messages: the receiver of the ws that is installed sees none of them, ${entrance}`, async (t) => {
    const { connect } = await start(t)
    const { prototype } = Receiver as { prototype: { getInfo: () => void } }
    const { getInfo } = prototype
    let parsed = 0
    prototype.getInfo = function (this: { _isServer: boolean }, ...args: []) {
      if (this._isServer) parsed++
      return getInfo.apply(this, args)
    }
    t.teardown(() => { prototype.getInfo = getInfo })
    const wire = await connect()
    parsed = 0
    for (let i = 0; i < 10; i++) t.equal((await wire.call('echo', i)).result, i)
    t.equal(parsed, 0, 'or each of them costs more')
    wire.sendRaw(encode(Opcode.RPC_REQ, 7, { method: 'echo', params: 'x'.repeat(2000), correlationId: 7 }))
    t.match(await wire.nextOf(Opcode.RPC_RES), { id: 7 })
    t.ok(parsed > 0)
  })
}
