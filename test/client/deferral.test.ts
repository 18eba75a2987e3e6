import t from 'tap'
import { Deferral } from '../../lib/client/deferral.js'

t.test('each wait is at least what the server said, and none grows beyond a bound', (t) => {
  for (let round = 0; round < 200; round++) {
    const deferral = new Deferral()
    let now = 1000
    let news = 0
    for (let attempt = 1; attempt <= 40; attempt++) {
      const asked = deferral.next('k', { code: 'INTERNAL', message: 'internal error', retryAfter: 1000 }, now)
      const bound = 1000 + Math.min(30_000, 1000 * 2 ** (attempt - 1))
      if (asked.delay < 1000 || asked.delay > bound) t.fail(`attempt ${attempt}: ${asked.delay} ms`)
      if (asked.news !== undefined) news++
      now += asked.delay
    }
    if (news !== 1) t.fail(`told ${news} times`)
  }
  t.end()
})

t.test('a rate limit is taken at its word, and told where it is long', (t) => {
  const deferral = new Deferral()
  const limited = (retryAfter: number, now: number): ReturnType<Deferral['next']> => deferral.next('k', { code: 'RATE_LIMITED', message: 'rate limit exceeded', retryAfter }, now)
  t.strictSame(limited(100, 0), { delay: 100 })
  t.match(limited(6000, 100), { delay: 6000, news: { code: 'RATE_LIMITED', message: /"k" waits.*rate limit exceeded/ } })
  t.strictSame(limited(6000, 6100), { delay: 6000 }, 'once')
  deferral.ended()
  t.strictSame(limited(100, 20_000), { delay: 100 }, 'a new one begins when it has been answered')
  t.strictSame(limited(4000, 20_500), { delay: 4000 })
  t.match(limited(4000, 24_500), { news: { code: 'RATE_LIMITED' } }, 'of several the whole time counts')
  t.end()
})
