import { type Figures, type Run, measure } from '../measure.js'
import { Kind } from '../peer.js'
import { replay, same } from '../replica.js'
import { makeValue } from '../values.js'
import { RawSocket } from '../raw-socket.js'

const KEYS = 10_000
const CONNECTIONS = 1000

/** Each key has one subscriber, and changes in its turn. */
export async function run (context: Run): Promise<Figures> {
  const { ms, warmUp, fleet, protocol, remotes: [server] } = context
  await server!.ask({ do: 'keys', count: KEYS })
  await fleet.connect(CONNECTIONS)
  let missing = KEYS
  await new Promise<void>((resolve) => {
    RawSocket.onMessage = (_socket, kind) => { if (kind === Kind.SNAPSHOT && --missing === 0) resolve() }
    for (let key = 0; key < KEYS; key++) {
      const socket = fleet.sockets[key % CONNECTIONS]!
      socket.send(...protocol.subscribe!(`k${key}`, socket, false))
    }
  })
  const change = async (ms: number): Promise<number> => {
    let received = 0
    RawSocket.onMessage = ({ covers }, kind) => { if (kind === Kind.PATCH) server!.ack(received += covers) }
    return (await server!.ask({ do: 'flood', operation: 'key', window: 256, ms })).sent
  }
  const first = await change(warmUp)
  let sent = 0
  const { cpu, elapsed, load } = await measure(context, async () => { sent = await change(ms) })
  for (const { values } of await replay(fleet)) {
    same(values.size, KEYS / CONNECTIONS, 'number of keys')
    for (const [key, value] of values) same(value, keyAfter(Number(key.slice(1)), first + sent), key)
  }
  return { 'server µs/update': cpu / sent, 'updates/s': sent / elapsed * 1000, 'load CPU %': load }
}

/** The value of the key with this number after `count` updates. */
function keyAfter (number: number, count: number): object {
  const value = makeValue(1)
  // the last update with this number: n % KEYS === number
  const n = count - (count - number + KEYS) % KEYS
  if (n > 0) Object.assign(value.records[0]!, { score: n, seen: n })
  return value
}
