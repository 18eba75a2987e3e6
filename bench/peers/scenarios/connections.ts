import { setTimeout } from 'node:timers/promises'
import { type Figures, type Run, measure } from '../measure.js'
import { Kind } from '../peer.js'
import { RawSocket } from '../raw-socket.js'
import { eventsOf, repliesInOrder, replay, same } from '../replica.js'
import { smallEvent } from '../values.js'

const CONNECTIONS = 3000

/** How often as many connect and leave before the server counts as warm: V8 compiles its code in the course of these. */
const WARM_UP = 4

/** µs of CPU in a tenth of a second, below which a server has no more to do. */
const REST = 2000

/** Connections that do nothing: the CPU that they took to come, and the memory that they hold. */
export async function run (context: Run): Promise<Figures> {
  const { fleet, remotes: [server] } = context
  // tables that grow with the first connections are not theirs
  await fleet.connect(500)
  const before = await server!.ask({ do: 'memory' })
  const cold = await measure(context, () => fleet.connect(CONNECTIONS))
  const after = await server!.ask({ do: 'memory' })
  await use(context, 1)
  for (let i = 0; i < WARM_UP; i++) {
    if (i > 0) await fleet.connect(CONNECTIONS)
    fleet.drop()
    await rest(context)
  }
  await server!.ask({ do: 'memory' })
  const warm = await measure(context, () => fleet.connect(CONNECTIONS))
  await use(context, 2)
  return {
    'server µs/connect': cold.cpu / CONNECTIONS,
    'connects/s': CONNECTIONS / cold.elapsed * 1000,
    'heap KiB each': (after.heap - before.heap) / CONNECTIONS / 1024,
    'load CPU %': cold.load,
    'warm, server µs/connect': warm.cpu / CONNECTIONS,
    'warm, connects/s': CONNECTIONS / warm.elapsed * 1000,
    'warm, load CPU %': warm.load
  }
}

/** They are all there: each gets an event, the `n`th of the server, and has a call answered. */
async function use ({ fleet, remotes: [server] }: Run, n: number): Promise<void> {
  let missing = 2 * fleet.sockets.length
  const all = new Promise<void>((resolve) => { RawSocket.onMessage = (_socket, kind) => { if ((kind === Kind.EVENT || kind === Kind.REPLY) && --missing === 0) resolve() } })
  await server!.ask({ do: 'once', operation: 'event' })
  const { call } = fleet.caller(() => {})
  for (const socket of fleet.sockets) call(socket)
  await all
  for (const { events, replies } of await replay(fleet, () => ({ ...eventsOf((i) => smallEvent(n + i - 1)), ...repliesInOrder() }))) same([events, replies], [1, 1], 'event and reply')
}

/** Until the server has dealt with the loss of its connections. */
async function rest (context: Run): Promise<void> {
  for (let cpu = Infinity; cpu > REST;) ({ cpu } = await measure(context, () => setTimeout(100)))
}
