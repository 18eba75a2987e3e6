import { deflateSync, inflateSync } from 'node:zlib'
import t from 'tap'
import { ZLIB_MAGIC } from '../../lib/protocol/frame.js'
import { SharedPayload, joined } from '../../lib/server/connection/encoding.js'
import { deflate } from '../../lib/server/connection/deflate.js'
import { randomOf, seed } from '../helpers/random.js'

t.test('deflate: a stream that ends where its input ends, whatever was compressed before', async (t) => {
  t.comment(`SEED=${seed}`)
  const random = randomOf(seed)
  const noiseOf = (size: number): Buffer => Buffer.from(Array.from({ length: size }, () => random(256)))
  for (let round = 0; round < 300; round++) {
    const size = random(round % 3 === 0 ? 66_000 : 5000)
    const noise = noiseOf(size)
    const text = Buffer.from(Array.from({ length: size >> 3 }, (_, i) => `${i % 97}:${noise[i]! & 7},`).join(''))
    for (const input of [noise, text]) {
      const deflated = deflate(input)
      if (deflated[0] !== ZLIB_MAGIC) t.fail(`round ${round}: not a stream with a window of 32 KiB`)
      if (!inflateSync(deflated).equals(input)) t.fail(`round ${round}: ${input.length} bytes differ`)
      // not the same bytes: of the last three of an input, zlib hashes what its window had before
      if (deflated.length > deflateSync(input, { level: 1 }).length + 8) t.fail(`round ${round}: larger than a stream of its own`)
    }
  }
  for (const size of [0, 1, 32 * 1024 - 1, 32 * 1024, 32 * 1024 + 1]) {
    const input = noiseOf(size)
    t.strictSame(inflateSync(deflate(input)), input, `${size} bytes of noise`)
  }
})

t.test('deflate: a payload keeps its bytes when another one is compressed', async (t) => {
  const [first, second] = ['a', 'b'].map((letter) => new SharedPayload(6, JSON.stringify(letter.repeat(3000)), 1024))
  const before = [first!.message(1), second!.message(1)]
  t.strictSame([first!.message(1), second!.message(1)], before)
  t.match(inflateSync(joined(first!.message(1)).subarray(2)).toString('latin1'), 'aaaa')
})
