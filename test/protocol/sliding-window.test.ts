import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import fc from 'fast-check'
import t from 'tap'
import { SlidingWindow } from '../../lib/protocol/sliding-window.js'
import { SlidingWindows } from '../../lib/protocol/sliding-windows.js'

const seed = Number(process.env.SEED ?? Math.trunc(Math.random() * 2 ** 31))
t.comment(`seed ${seed} (SEED=${seed} repeats this run)`)

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

/** Bytes that are really in use. */
function heap (): number {
  collect()
  return process.memoryUsage().heapUsed
}

const rule = fc.record({ windowMs: fc.integer({ min: 1, max: 50 }), maxRequests: fc.integer({ min: 0, max: 12 }) })
const steps = fc.array(fc.record({ wait: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 8 }), fc.integer({ min: 0, max: 80 })), cost: fc.integer({ min: 1, max: 4 }) }), { maxLength: 120 })

t.test('sliding window: it admits exactly what a list of all that was admitted would', async () => {
  fc.assert(fc.property(rule, steps, fc.integer({ min: 0, max: 2 ** 40 }), (rule, steps, start) => {
    const window = new SlidingWindow(rule)
    const admitted: Array<{ at: number, cost: number }> = []
    /** What the window that ends at `at` holds. */
    const used = (at: number): number => admitted.reduce((sum, one) => one.at > at - rule.windowMs && one.at <= at ? sum + one.cost : sum, 0)
    let now = start
    for (const { wait, cost } of steps) {
      now += wait
      const retryAfter = window.take(now, cost)
      const fits = used(now) + cost <= rule.maxRequests
      if (fits !== (retryAfter === 0)) throw new Error(`at ${now}: ${retryAfter} though ${used(now)} of ${rule.maxRequests} are used`)
      if (fits) {
        admitted.push({ at: now, cost })
      } else if (cost <= rule.maxRequests) {
        if (!Number.isInteger(retryAfter) || retryAfter < 1) throw new Error(`retryAfter ${retryAfter}`)
        if (used(now + retryAfter) + cost > rule.maxRequests) throw new Error(`after ${retryAfter} ms it would not be admitted`)
        if (used(now + retryAfter - 1) + cost <= rule.maxRequests) throw new Error(`it would be admitted before ${retryAfter} ms`)
      }
      if (window.isEmpty(now) !== (used(now) === 0)) throw new Error('isEmpty')
    }
    for (const { at } of admitted) if (used(at) > rule.maxRequests) throw new Error(`the interval that ends at ${at} admitted ${used(at)}`)
  }), { seed, numRuns: 500 })
})

t.test('sliding window: a refused request costs nothing', async (t) => {
  const window = new SlidingWindow({ windowMs: 100, maxRequests: 2 })
  t.equal(window.take(0, 1), 0)
  t.equal(window.take(10, 1), 0)
  for (let now = 11; now < 100; now++) t.equal(window.take(now, 1), 100 - now)
  t.equal(window.take(100, 1), 0)
  t.equal(window.take(100, 1), 10)
  t.equal(window.take(110, 1), 0)
})

t.test('sliding window: it remembers no more than the rule needs', async (t) => {
  for (const rule of [{ windowMs: 1000, maxRequests: 100_000 }, { windowMs: 1_000_000, maxRequests: 500 }]) {
    const window = new SlidingWindow(rule)
    const before = heap()
    let admitted = 0
    for (let now = 0; now < 300_000; now++) if (window.take(now, 1) === 0) admitted++
    for (let i = 0; i < 100_000; i++) window.take(300_000, 1)
    t.ok(admitted > 0)
    t.ok(heap() - before < 2 * 2 ** 20, 'all that it ever admitted would be more')
  }
})

t.test('windows by key: those that are empty are forgotten, those in use are not', async (t) => {
  const windows = new SlidingWindows()
  const rule = { windowMs: 1000, maxRequests: 1 }
  for (let round = 0; round < 5; round++) {
    const now = round * 2000
    for (let i = 0; i < 5000; i++) if (windows.get(`${round} ${i}`, rule, now).take(now, 1) > 0) t.fail(`${round} ${i}`)
    for (const i of [0, 2500, 4999]) t.equal(windows.get(`${round} ${i}`, rule, now).take(now + 1, 1), 999, 'in use')
  }
})

t.test('sliding window: however many keys are in use, they are bounded, and the newest are kept', async (t) => {
  const windows = new SlidingWindows()
  const rule = { windowMs: 1_000_000, maxRequests: 1 }
  const count = 500_000
  const before = heap()
  for (let i = 0; i < count; i++) windows.get(String(i), rule, 0).take(0, 1)
  t.ok(heap() - before < 64 * 2 ** 20, 'half a million would be more')
  for (const i of [count - 1, count - 1000, count - 80_000]) t.ok(windows.get(String(i), rule, 0).take(0, 1) > 0, `${i} is in use`)
  t.equal(windows.get('0', rule, 0).take(0, 1), 0, 'the oldest went')
})
