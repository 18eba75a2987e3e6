import { deflateSync, inflateSync } from 'node:zlib'
import fc from 'fast-check'
import t from 'tap'
import { decode, encode } from '../../lib/client/codec.js'
import { ZLIB_MAGIC } from '../../lib/protocol/frame.js'
import { decode as theirDecode, encode as theirEncode } from '../helpers/wire.js'
import { json } from '../protocol/arbitrary-json.js'

const seed = Number(process.env.SEED ?? Math.trunc(Math.random() * 2 ** 31))
t.comment(`seed ${seed} (SEED=${seed} repeats this run)`)

function bytes (data: Uint8Array): ArrayBuffer {
  return Uint8Array.from(data).buffer
}

t.test('codec: what it encodes Node.js decodes, and the other way round', async () => {
  fc.assert(fc.property(fc.integer({ min: 0, max: 18 }), fc.nat(0xffffffff), json, fc.nat(50), (opcode, id, value, times) => {
    const payload = Array.from({ length: times }, () => value)
    const theirs = theirDecode(Buffer.from(encode(opcode, id, JSON.stringify(payload))))
    if (theirs.opcode !== opcode || theirs.id !== id || JSON.stringify(theirs.payload) !== JSON.stringify(payload)) return false
    const frame = theirEncode(opcode, id, payload)
    return [frame, deflateSync(frame), deflateSync(frame, { level: 9 })].every((data) => {
      const ours = decode(bytes(data))
      return ours.opcode === opcode && ours.correlationId === id && JSON.stringify(ours.payload) === JSON.stringify(payload)
    })
  }), { seed, numRuns: 100 })
})

t.test('codec: a frame is deflated from 1 KiB', async (t) => {
  const text = (length: number): string => JSON.stringify('a'.repeat(length - 9 - 2))
  t.equal(encode(1, 1, text(1023))[0], 1)
  const deflated = encode(1, 1, text(1024))
  t.equal(deflated[0], ZLIB_MAGIC)
  t.ok(deflated.length < 100)
  t.equal(inflateSync(deflated).length, 1024)
})

t.test('codec: a stream that inflates beyond 64 MiB is refused while it does', async (t) => {
  const bomb = bytes(deflateSync(Buffer.alloc(100 * 1024 * 1024), { level: 1 }))
  const before = process.memoryUsage().arrayBuffers
  t.throws(() => decode(bomb), { code: 'PAYLOAD_TOO_LARGE' })
  t.ok(process.memoryUsage().arrayBuffers - before < 100 * 1024 * 1024, 'it never held all of it')
})

t.test('codec: what is not a frame is refused', async (t) => {
  const frame = theirEncode(5, 1, { text: 'x'.repeat(2000) })
  const deflated = deflateSync(frame)
  const wrong: Record<string, Uint8Array> = {
    empty: Buffer.alloc(0),
    truncated: frame.subarray(0, 40),
    'longer than it says': Buffer.concat([frame, Buffer.alloc(1)]),
    'truncated stream': deflated.subarray(0, deflated.length - 6),
    'broken stream': Buffer.concat([deflated.subarray(0, 2), Buffer.alloc(30, 0xff)]),
    'no JSON': Buffer.from([5, 0, 0, 0, 0, 0, 0, 0, 1, 0x7b]),
    'no UTF-8': Buffer.from([5, 0, 0, 0, 0, 0, 0, 0, 3, 0x22, 0xff, 0x22])
  }
  for (const [name, data] of Object.entries(wrong)) t.throws(() => decode(bytes(data)), name)
})
