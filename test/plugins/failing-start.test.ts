import { fork } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { fileURLToPath } from 'node:url'
import t from 'tap'

const taken = createServer()
taken.listen(0)
t.teardown(() => { taken.close() })
await once(taken, 'listening')

const PLACES: Array<[place: string, failure: RegExp, connected: string[]]> = [
  ['root', /root is away/, []],
  ['inner', /inner is away/, ['root']],
  ['plugin', /plugin fails/, ['root', 'inner']],
  ['limiter', /limiter is away/, ['root', 'inner']],
  ['script', /the script fails/, ['root', 'inner', 'limiter']],
  ['schema', /INVALID_OPTION/, ['root', 'inner', 'limiter']]
]
const FASTIFY_ONLY: typeof PLACES = [
  ['hook', /hook fails/, ['root', 'inner', 'limiter']],
  ['port', /EADDRINUSE/, ['root', 'inner', 'limiter']]
]

for (const [entrance, places] of [['fastify', [...PLACES, ...FASTIFY_ONLY]], ['standalone', PLACES]] as const) {
  for (const [place, failure, connected] of places) {
    t.test(`${entrance}: a start that fails at "${place}" closes what was connected, in reverse, and lets the process end`, async (t) => {
      const child = fork(fileURLToPath(new URL('fail-start.js', import.meta.url)), [entrance, place, String((taken.address() as AddressInfo).port)])
      t.teardown(() => child.kill())
      const ended = once(child, 'exit')
      const [{ failure: happened, calls }] = await once(child, 'message') as [{ failure: string, calls: string[] }]
      t.match(happened, failure)
      t.strictSame(calls.filter((call) => call.startsWith('connect')), connected.map((name) => `connect ${name}`))
      t.strictSame(calls.filter((call) => call.startsWith('close')), connected.toReversed().map((name) => `close ${name}`))
      child.disconnect()
      await ended
    })
  }
}
