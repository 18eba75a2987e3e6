import t from 'tap'
import type { Bytes } from '../../lib/client/codec.js'
import { FrameQueue } from '../../lib/client/frame-queue.js'
import { until } from '../helpers/until.js'
import { randomOf, seed } from '../helpers/random.js'

t.comment(`seed ${seed} (SEED=${seed} repeats this run)`)

const frame = (n: number): Bytes => Uint8Array.of(n)

t.test('frame queue: frames keep their order, whichever of them take time', async (t) => {
  const random = randomOf(seed)
  const delivered: number[] = []
  const failed: unknown[] = []
  const queue = new FrameQueue({
    convert (bytes) {
      if (bytes[0] === 13) throw new Error('at once')
      if (random(2) === 0) return bytes
      return new Promise((resolve, reject) => { setImmediate(() => { if (bytes[0] === 17) reject(new Error('late')); else resolve(bytes) }) })
    },
    deliver (bytes) { delivered.push(bytes[0]!) },
    failed (error) { failed.push(error) }
  })
  let ended = 0
  for (let n = 0; n < 200; n++) {
    queue.push(frame(n))
    if (random(5) === 0) await new Promise(setImmediate)
  }
  queue.end(() => { ended = delivered.length + failed.length })
  await until(() => ended > 0)
  t.equal(ended, 200, 'the end comes after all of them')
  t.equal(queue.size, 0)
  const expected = Array.from({ length: 200 }, (_, n) => n).filter((n) => n !== 13 && (n !== 17 || delivered.includes(17)))
  t.strictSame(delivered, expected)
})

t.test('frame queue: a cleared queue delivers nothing more, and gives back what it had', async (t) => {
  const delivered: number[] = []
  let release = (): void => {}
  const queue = new FrameQueue({
    convert: (bytes) => bytes[0] === 1 ? new Promise((resolve) => { release = () => { resolve(bytes) } }) : bytes,
    deliver: (bytes) => { delivered.push(bytes[0]!) },
    failed: () => { t.fail('a failure') }
  })
  for (const n of [0, 1, 2, 3]) queue.push(frame(n))
  queue.end(() => { t.fail('an end') })
  t.equal(queue.size, 2)
  t.strictSame(queue.clear().map(([n]) => n), [1, 2, 3])
  queue.push(frame(4))
  release()
  await new Promise(setImmediate)
  t.strictSame(delivered, [0, 4])
})

t.test('frame queue: a frame that is pushed by a delivery goes behind those that wait', async (t) => {
  const delivered: number[] = []
  const queue: FrameQueue = new FrameQueue({
    convert: async (bytes) => bytes,
    deliver: ([n]) => {
      delivered.push(n!)
      if (n === 1) queue.push(frame(9))
    },
    failed: () => { t.fail('a failure') }
  })
  for (const n of [1, 2, 3]) queue.push(frame(n))
  await until(() => delivered.length === 4)
  t.strictSame(delivered, [1, 2, 3, 9])
})
