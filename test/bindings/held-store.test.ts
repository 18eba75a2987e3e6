import t from 'tap'
import { HeldStore } from '../../lib/bindings/held-store.js'
import { until } from '../helpers/until.js'

function held (keepMs: number): { store: HeldStore<{ n: number }>, change: (n: number) => void, ends: () => number } {
  let ends = 0
  let change = (_n: number): void => {}
  const store = new HeldStore({
    closed: { n: 0 },
    keepMs,
    open (tell) {
      change = (n) => { tell({ n }) }
      return () => {}
    },
    ended () { ends++ }
  })
  return { store, change: (n) => { change(n) }, ends: () => ends }
}

t.test('held store: a listener that throws does not keep the others from a change', async (t) => {
  const { store, change } = held(0)
  const seen: number[] = []
  const ends = [store.subscribe(() => { throw new Error('a listener') }), store.subscribe(() => { seen.push(store.getSnapshot().n) })]
  t.throws(() => { change(1) }, { message: 'a listener' })
  t.strictSame(seen, [1])
  for (const end of ends) end()
})

t.test('held store: keepMs may be Infinity', async (t) => {
  const kept = held(Infinity)
  kept.store.subscribe(() => {})()
  const other = held(0)
  other.store.subscribe(() => {})()
  await until(() => other.ends() === 1)
  t.equal(kept.ends(), 0)
})
