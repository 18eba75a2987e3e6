import t from 'tap'
import { readFailures } from './failures.js'

const output = `TAP version 14
# Subtest: a.test.js
    # Subtest: outer
        # seed: 17
        # Subtest: inner
            ok 1 - fine
            not ok 2 - one is two
              ---
              diff: |
                -2
                +1
              ...

            1..2
        not ok 1 - inner # time=21.388ms
        1..1
    not ok 1 - outer # time=33.323ms
      ---
      at: somewhere
      ...

    # Subtest: second
        not ok 1 - boom
        1..1
    not ok 2 - second
    1..2
not ok 1 - a.test.js # time=58.435ms

# Subtest: b.test.js
    ok 1 - fine
    1..1
not ok 2 - b.test.js # time=13.749ms
  ---
  exitCode: 1
  ...

# Subtest: c.test.js
    ok 1 - fine
    1..1
ok 3 - c.test.js
`

t.test('each failure once, with the way to it, the seeds of its file and what tap says', async (t) => {
  t.strictSame(readFailures(output), [
    'FAIL a.test.js > outer > inner > one is two\n  seed: 17\n              diff: |\n                -2\n                +1',
    'FAIL a.test.js > second > boom\n  seed: 17',
    'FAIL b.test.js\n  exitCode: 1'
  ])
})

t.test('failures: where nothing failed there is nothing to show', async (t) => {
  t.strictSame(readFailures('# Subtest: c.test.js\n    ok 1 - fine\n    1..1\nok 1 - c.test.js\n'), [])
})
