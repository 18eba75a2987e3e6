import fc from 'fast-check'
import t from 'tap'
import { backoff } from '../../lib/client/backoff.js'

const seed = Number(process.env.SEED ?? Math.trunc(Math.random() * 2 ** 31))
t.comment(`seed ${seed} (SEED=${seed} repeats this run)`)

t.test('backoff: the wait is a random share of a bound that doubles up to 30 s', async (t) => {
  const bounds = [1, 2, 3, 4, 5, 6, 7, 100].map((attempt) => backoff(attempt, 1000, () => 1))
  t.strictSame(bounds, [1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000])
  t.equal(backoff(3, 1000, () => 0.25), 1000)
  t.equal(backoff(5, 1000, () => 0), 0)
})

t.test('backoff: whatever the attempt, it is never beyond its bound', async () => {
  fc.assert(fc.property(fc.integer({ min: 1, max: 10_000 }), fc.integer({ min: 1, max: 2 ** 31 - 1 }), fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), (attempt, interval, random) => {
    const wait = backoff(attempt, interval, () => random)
    return wait >= 0 && wait <= Math.max(30_000, interval) && (attempt > 1 || wait <= interval)
  }), { seed })
})
