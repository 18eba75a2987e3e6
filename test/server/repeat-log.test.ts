import t from 'tap'
import { RepeatLog } from '../../lib/server/context/repeat-log.js'
import { Opcode } from '../../lib/protocol/opcodes.js'
import { entrances } from '../helpers/entrances.js'
import { until } from '../helpers/until.js'

t.test('repeat log: the first of a class at once, and the number of the others after an interval', async (t) => {
  const lines: unknown[] = []
  const log = new RepeatLog({ warn (fields: object, text: string) { lines.push([text, fields]) } } as never, 20)
  for (let n = 1; n <= 1000; n++) log.warn({ n }, 'nonsense')
  log.warn({}, 'other')
  t.strictSame(lines, [['nonsense', { n: 1 }], ['other', {}]])
  await until(() => lines.length === 3)
  t.strictSame(lines[2], ['nonsense', { n: 1000, repeated: 999 }])
  log.warn({ n: 1001 }, 'nonsense')
  log.stop()
  t.strictSame(lines[3], ['nonsense', { n: 1001, repeated: 1 }], 'the end tells the rest')
  log.stop()
  t.equal(lines.length, 4)
})

for (const [entrance, start] of entrances) {
  t.test(`${entrance}: a client that is refused again and again fills no log`, async (t) => {
    const { connect, logs, close } = await start(t, { rateLimit: { defaultRule: { windowMs: 60_000, maxRequests: 1 } } })
    const wire = await connect()
    for (let i = 0; i < 50; i++) wire.send(Opcode.EVENT_C2S, 0, { event: 'x' })
    await wire.ping()
    const refused = (): string[] => logs.filter((line) => line.includes('frames of clients are refused'))
    t.equal(refused().length, 1)
    await close()
    t.match(refused()[1], /"code":"RATE_LIMITED","repeated":\d+/)
    t.equal(refused().length, 2)
  })
}
