import t from 'tap'
import { Opcode } from '../../lib/protocol/opcodes.js'
import type { Connection } from '../../lib/server/connection/connection.js'
import { TIME_BASE } from '../../lib/server/connection/time-base.js'
import { EventFrames, EventNumbers } from '../../lib/server/events/event-frames.js'
import { randomOf, seed } from '../helpers/random.js'
import { decode } from '../helpers/wire.js'

const NAMES = 1100

t.test('each connection is told the number of a name once, in whatever order the names come', async (t) => {
  t.comment(`SEED=${seed}`)
  const below = randomOf(seed)
  const numbers = new EventNumbers()
  // all names have their numbers, and the connections come later
  for (let i = 0; i < NAMES; i++) numbers.of(`name ${i}`)
  const connections = Array.from({ length: 3 }, () => ({ protocol: 3, knownEvents: undefined }) as Connection)
  const told = connections.map(() => new Set<number>())
  for (let i = 0; i < 20_000; i++) {
    const name = below(NAMES)
    const place = below(connections.length)
    const message = new EventFrames({ event: `name ${name}`, json: '1', timestamp: TIME_BASE + 5 }, numbers, Infinity).for(connections[place]!)
    const frame = message.subarray(2)
    const number = name < 1024 ? name : undefined
    if (number !== undefined && told[place]!.has(number)) {
      if (frame[0] !== Opcode.EVENT_COMPACT) return t.fail(`${number} is told twice`)
      continue
    }
    const { opcode, payload } = decode(frame)
    if (opcode !== Opcode.EVENT_S2C || payload.n !== number || payload.event !== `name ${name}`) return t.fail(`${number} is not told`)
    if (number !== undefined) told[place]!.add(number)
  }
  for (const { knownEvents } of connections) t.ok(knownEvents!.byteLength < 200, 'a connection keeps little of it')
})

t.test('an event that is older than the time base has no number', async (t) => {
  const connection = { protocol: 3, knownEvents: undefined } as Connection
  for (const timestamp of [TIME_BASE - 1, TIME_BASE + 2 ** 35, NaN]) {
    const frames = new EventFrames({ event: 'a', json: undefined, timestamp }, new EventNumbers(), Infinity)
    t.equal(frames.for(connection)[2], Opcode.EVENT_S2C)
    t.equal(frames.for(connection)[2], Opcode.EVENT_S2C)
  }
  t.equal(connection.knownEvents, undefined)
})
