import t from 'tap'
import { type Deadline, Deadlines } from '../../lib/server/auth/deadlines.js'
import { randomOf, seed } from '../helpers/random.js'
import { until } from '../helpers/until.js'

t.test(`deadlines: each is reached once, in order, and not before it is due; deleted ones never (seed ${seed})`, async (t) => {
  const random = randomOf(seed)
  const reached: Deadline[] = []
  const early: number[] = []
  let done = (): void => {}
  const all = new Promise<void>((resolve) => { done = resolve })
  const deadlines = new Deadlines<Deadline>((item) => {
    const now = performance.now()
    if (now < item.due) early.push(item.due - now)
    reached.push(item)
    if (deadlines.size === 0) done()
  })
  const started = performance.now()
  const items = Array.from({ length: 2000 }, () => ({ due: started + random(150), place: -1 }))
  for (const item of items) deadlines.add(item)
  const deleted = items.filter(() => random(3) === 0)
  for (const item of deleted) {
    deadlines.delete(item)
    deadlines.delete(item)
  }
  // its timer keeps no process alive, so this one has to
  const alive = setInterval(() => {}, 1000)
  await all
  clearInterval(alive)
  t.same(early, [])
  t.equal(reached.length, items.length - deleted.length)
  t.equal(new Set(reached).size, reached.length)
  t.notOk(deleted.some((item) => reached.includes(item)))
  t.same(reached.map(({ due }) => due), reached.map(({ due }) => due).sort((a, b) => a - b), 'in order')
  t.ok(items.every(({ place }) => place === -1))
})

t.test('deadlines: years ahead is not now; clear forgets everything', async (t) => {
  const reached: Deadline[] = []
  const deadlines = new Deadlines<Deadline>((item) => { reached.push(item) })
  const far = { due: performance.now() + 100 * 365 * 86_400_000, place: -1 }
  const soon = { due: performance.now() + 10, place: -1 }
  const never = { due: performance.now() + 20, place: -1 }
  deadlines.add(far)
  deadlines.add(soon)
  await until(() => reached.length !== 0)
  t.same(reached, [soon])
  deadlines.add(never)
  deadlines.clear()
  t.equal(deadlines.size, 0)
  t.equal(far.place, -1)
  await new Promise((resolve) => setTimeout(resolve, 40))
  t.same(reached, [soon])
})
