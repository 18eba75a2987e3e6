import t from 'tap'
import { describe, isGreen, readCounts } from './counts.js'

t.test('the counts are those of the last summary that is not of a subtest', async (t) => {
  const output = 'ok 1 - # { total: 9, pass: 9 }\n    # { total: 7, pass: 7 }\n# { total: 8, pass: 4, fail: 2, todo: 1, skip: 1 }\n# time=3ms\n'
  t.strictSame(readCounts(output, 1), { passed: 4, failed: 2, skipped: 2 })
  t.strictSame(readCounts('# { total: 3, pass: 3 }\n', 0), { passed: 3, failed: 0, skipped: 0 })
})

t.test('a run that ended badly has failed, whatever it counted', async (t) => {
  t.equal(readCounts('# { total: 3, pass: 3 }\n', 1).failed, 1)
  t.equal(readCounts('# { total: 3, pass: 3 }\n', null).failed, 1)
  t.equal(readCounts('', 1).failed, 1)
})

t.test('counts: green is a run in which something passed and nothing failed', async (t) => {
  t.ok(isGreen({ passed: 1, failed: 0, skipped: 2 }))
  t.notOk(isGreen(readCounts('', 0)))
  t.notOk(isGreen({ passed: 0, failed: 0, skipped: 3 }))
  t.notOk(isGreen({ passed: 5, failed: 1, skipped: 0 }))
})

t.test('counts: the last line', async (t) => {
  t.equal(describe({ passed: 12, failed: 0, skipped: 0 }), '12 passed, 0 failed')
  t.equal(describe({ passed: 12, failed: 1, skipped: 3 }), '12 passed, 1 failed, 3 skipped')
})
