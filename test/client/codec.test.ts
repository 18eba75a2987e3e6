import { deflateSync, inflateSync } from 'node:zlib'
import fc from 'fast-check'
import t from 'tap'
import { type Bytes, decode, encode } from '../../lib/client/codec.js'
import { compress, platformInflate } from '../../lib/client/compression.js'
import { ZLIB_MAGIC } from '../../lib/protocol/frame.js'
import { decode as theirDecode, encode as theirEncode } from '../helpers/wire.js'
import { json } from '../protocol/arbitrary-json.js'

const seed = Number(process.env.SEED ?? Math.trunc(Math.random() * 2 ** 31))
t.comment(`seed ${seed} (SEED=${seed} repeats this run)`)

const inflate = platformInflate()!

function bytes (data: Uint8Array): Bytes {
  return Uint8Array.from(data)
}

t.test('codec: what it encodes Node.js decodes, and the other way round', async () => {
  await fc.assert(fc.asyncProperty(fc.integer({ min: 0, max: 18 }), fc.nat(0xffffffff), json, fc.nat(50), async (opcode, id, value, times) => {
    const payload = Array.from({ length: times }, () => value)
    const theirs = theirDecode(Buffer.from(await compress(encode(opcode, id, JSON.stringify(payload)))))
    if (theirs.opcode !== opcode || theirs.id !== id || JSON.stringify(theirs.payload) !== JSON.stringify(payload)) return false
    const frame = theirEncode(opcode, id, payload)
    const frames = [bytes(frame), await inflate(bytes(deflateSync(frame))), await inflate(bytes(deflateSync(frame, { level: 9 })))]
    return frames.map(decode).every((ours) => ours.opcode === opcode && ours.correlationId === id && JSON.stringify(ours.payload) === JSON.stringify(payload))
  }), { seed, numRuns: 100 })
})

t.test('codec: a frame is deflated from 1 KiB, if that makes it smaller', async (t) => {
  const text = (length: number): Bytes => encode(1, 1, JSON.stringify('a'.repeat(length - 9 - 2)))
  t.equal(compress(text(1023)) instanceof Promise, false)
  const deflated = await compress(text(1024))
  t.equal(deflated[0], ZLIB_MAGIC)
  t.ok(deflated.length < 100)
  t.equal(inflateSync(deflated).length, 1024)
  const noise = encode(1, 1, JSON.stringify(Array.from({ length: 1100 }, () => String.fromCharCode(33 + Math.random() * 60)).join('')))
  const random = bytes(crypto.getRandomValues(noise))
  t.equal(await compress(random), random)
})

t.test('codec: a stream that inflates beyond 64 MiB is refused while it does', async (t) => {
  const bomb = bytes(deflateSync(Buffer.alloc(256 * 1024 * 1024), { level: 1 }))
  const before = process.memoryUsage().arrayBuffers
  await t.rejects(async () => await inflate(bomb), { code: 'PAYLOAD_TOO_LARGE' })
  t.ok(process.memoryUsage().arrayBuffers - before < 200 * 1024 * 1024, 'it never held all of it')
})

t.test('codec: what is not a frame is refused', async (t) => {
  const frame = theirEncode(5, 1, { text: 'x'.repeat(2000) })
  const deflated = deflateSync(frame)
  const wrong: Record<string, Uint8Array> = {
    empty: Buffer.alloc(0),
    truncated: frame.subarray(0, 40),
    'longer than it says': Buffer.concat([frame, Buffer.alloc(1)]),
    'no JSON': Buffer.from([5, 0, 0, 0, 0, 0, 0, 0, 1, 0x7b]),
    'no UTF-8': Buffer.from([5, 0, 0, 0, 0, 0, 0, 0, 3, 0x22, 0xff, 0x22])
  }
  for (const [name, data] of Object.entries(wrong)) t.throws(() => decode(bytes(data)), name)
  const streams: Record<string, Uint8Array> = {
    'truncated stream': deflated.subarray(0, deflated.length - 6),
    'broken stream': Buffer.concat([deflated.subarray(0, 2), Buffer.alloc(30, 0xff)])
  }
  for (const [name, data] of Object.entries(streams)) await t.rejects(async () => await inflate(bytes(data)), name)
})
