import { randomBytes } from 'node:crypto'
import { inflateSync } from 'node:zlib'
import { unzlibSync } from 'fflate'
import t from 'tap'
// @ts-expect-error -- its types leave it out
import { Receiver } from 'ws'
import { HEADER_SIZE, ZLIB_MAGIC, decodeFrame } from '../../lib/protocol/frame.js'
import { Answers } from '../../lib/server/connection/answers.js'
import { SharedPayload, encodeMessage, joined, receivedSize } from '../../lib/server/connection/encoding.js'

/** What a WebSocket peer makes of the bytes: messages, or an error. */
async function received (bytes: Buffer): Promise<Buffer[]> {
  const receiver = new Receiver({ isServer: false })
  const messages: Buffer[] = []
  receiver.on('message', (data: Buffer, isBinary: boolean) => { messages.push(isBinary ? data : Buffer.from('not binary')) })
  await new Promise<void>((resolve, reject) => { receiver.on('error', reject); receiver.write(bytes, () => { resolve() }) })
  return messages
}

const text = (size: number): string => `"${'x'.repeat(Math.max(size - 2, 0))}"`
const noise = (size: number): string => randomBytes(size).toString('latin1').replace(/[^ -~]/g, '~')
const SIZES = [0, 1, 2, 100, 115, 116, 117, 118, 1014, 1015, 1016, 32_767, 32_768, 65_525, 65_526, 65_527, 65_528, 65_534, 65_535, 65_536, 65_537, 131_072, 300_000]

t.test('encoding: a vector, byte by byte', async (t) => {
  t.equal(encodeMessage(0x02, 0x01020304, 'null', 1024).toString('hex'), '820d' + '02' + '01020304' + '00000004' + '6e756c6c')
  t.equal(joined(new SharedPayload(0x06, '{}', 1024).message(0xffffffff)).toString('hex'), '820b' + '06' + 'ffffffff' + '00000002' + '7b7d')
  t.equal(encodeMessage(0x04, 0, '"ü"', 1024).toString('hex'), '820d' + '04' + '00000000' + '00000004' + '22c3bc22', 'lengths are bytes')
})

t.test('encoding: answers that leave together are what each would be on its own', async (t) => {
  const payloads = ['null', '', '"ü"', '"€"', '"\u{1f600}"', '"\ud800"', ...[115, 116, 117, 118, 1024].map(text), `"${'ü'.repeat(57)}"`, `"${'ü'.repeat(58)}"`, noise(1000)]
  const whole = (list: string[]): string => Buffer.concat(list.map((json, i) => encodeMessage(2, i * 0x10000001, json, Infinity))).toString('hex')
  const together = (list: string[]): Answers => {
    const answers = new Answers()
    for (const [i, json] of list.entries()) answers.add(2, i * 0x10000001, json, Buffer.byteLength(json))
    return answers
  }
  for (const list of [payloads, payloads.slice(0, 2), ...payloads.map((json) => [json]), ...payloads.map((json) => ['{}', json, '[]'])]) {
    const answers = together(list)
    const bytes = answers.encode()
    t.equal(bytes.toString('hex'), whole(list))
    t.equal(answers.size, bytes.length)
  }
})

t.test('encoding: WebSocket headers at the edges of their sizes', async (t) => {
  for (const [size, header] of [[125, 2], [126, 4], [127, 4], [65_535, 4], [65_536, 10], [65_537, 10]] as const) {
    for (const message of [encodeMessage(1, 2, 'y'.repeat(size - HEADER_SIZE), Infinity), joined(new SharedPayload(1, 'y'.repeat(size - HEADER_SIZE), Infinity).message(2))]) {
      t.equal(message.length, header + size)
      t.equal(message[0], 0x82)
      const [frame, ...others] = await received(message)
      t.strictSame(others, [])
      t.equal(frame!.length, size)
      t.match(decodeFrame(frame!), { opcode: 1, correlationId: 2 })
    }
    t.equal(receivedSize(size), header + 4 + size)
  }
})

t.test('encoding: whatever is encoded is decoded, by zlib and by fflate', async (t) => {
  for (const size of SIZES) {
    for (const json of [text(size), noise(size), JSON.stringify('ü€😀'.repeat(Math.ceil(size / 9)))]) {
      for (const threshold of [0, 1024, Infinity]) {
        const shared = new SharedPayload(0x06, json, threshold)
        for (const [id, message] of [[7, encodeMessage(0x06, 7, json, threshold)], [0, joined(shared.message(0))], [0xdeadbeef, joined(shared.message(0xdeadbeef))], [0, joined(shared.message(0))]] as const) {
          const [frame] = await received(message)
          const isDeflated = frame![0] === ZLIB_MAGIC
          const plain = isDeflated ? inflateSync(frame!) : frame!
          const { opcode, correlationId, payload } = decodeFrame(plain)
          if (opcode !== 6 || correlationId !== id || Buffer.from(payload).toString() !== json) t.fail(`${size} bytes, threshold ${threshold}, id ${id}`)
          if (isDeflated && !plain.equals(unzlibSync(frame!))) t.fail(`fflate differs at ${size}`)
          if (isDeflated && frame!.length >= plain.length) t.fail(`deflated, but not smaller, at ${size}`)
          if (isDeflated && plain.length <= threshold) t.fail(`deflated below the threshold, at ${size}`)
          if (!isDeflated && threshold < Infinity && size > 2000 && json === text(size)) t.fail(`not deflated at ${size}`)
        }
      }
    }
  }
  t.pass()
})

t.test('encoding: the checksum of a composed stream is the checksum of its content', async (t) => {
  for (let round = 0; round < 200; round++) {
    const json = JSON.stringify('ab'.repeat(600 + round) + noise(round))
    const [frame] = await received(joined(new SharedPayload(round, json, 0).message(round * 21_474_836)))
    t.equal(frame![0], ZLIB_MAGIC)
    // inflateSync checks the Adler-32 at the end; a flipped bit in it must be seen
    t.equal(inflateSync(frame!).length, HEADER_SIZE + json.length)
    frame![frame!.length - 1]! ^= 1
    t.throws(() => inflateSync(frame!), { code: 'Z_DATA_ERROR' })
  }
})

t.test('encoding: a shared payload is encoded once', async (t) => {
  const shared = new SharedPayload(6, text(5000), 0)
  t.equal(joined(shared.message(0)), joined(shared.message(0)), 'the same buffer where there is no id')
  t.not(joined(shared.message(1)), joined(shared.message(2)))
  t.equal(shared.size, 5000)
  for (const threshold of [0, Infinity]) {
    const large = new SharedPayload(6, noise(200_000), threshold)
    const [one, other] = [large.message(1), large.message(2)]
    const places = [one[1]!, other[1]!].map(({ buffer, byteOffset }) => ({ buffer, byteOffset }))
    t.ok(places[0]!.buffer === places[1]!.buffer && places[0]!.byteOffset === places[1]!.byteOffset, 'a large payload is the same memory under every id')
    t.ok(one[1]!.length > 16_000 && one.length === (threshold === 0 ? 3 : 2))
  }
})
