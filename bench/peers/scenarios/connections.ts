import { type Figures, type Run, measure } from '../measure.js'
import { Kind } from '../peer.js'
import { RawSocket } from '../raw-socket.js'
import { eventsOf, repliesInOrder, replay, same } from '../replica.js'
import { smallEvent } from '../values.js'

const CONNECTIONS = 3000

/** Connections that do nothing: the CPU that they took to come, and the memory that they hold. */
export async function run (context: Run): Promise<Figures> {
  const { fleet, remotes: [server] } = context
  // code that is compiled and tables that grow with the first connections are not theirs
  await fleet.connect(500)
  const before = await server!.ask({ do: 'memory' })
  const { cpu, elapsed, load } = await measure(context, () => fleet.connect(CONNECTIONS))
  const after = await server!.ask({ do: 'memory' })
  await use(context)
  return { 'server µs/connect': cpu / CONNECTIONS, 'connects/s': CONNECTIONS / elapsed * 1000, 'heap KiB each': (after.heap - before.heap) / CONNECTIONS / 1024, 'load CPU %': load }
}

/** They are all there: each gets an event, and has a call answered. */
async function use ({ fleet, remotes: [server] }: Run): Promise<void> {
  let missing = 2 * fleet.sockets.length
  const all = new Promise<void>((resolve) => { RawSocket.onMessage = (_socket, kind) => { if ((kind === Kind.EVENT || kind === Kind.REPLY) && --missing === 0) resolve() } })
  await server!.ask({ do: 'once', operation: 'event' })
  const { call } = fleet.caller(() => {})
  for (const socket of fleet.sockets) call(socket)
  await all
  for (const { events, replies } of await replay(fleet, () => ({ ...eventsOf(smallEvent), ...repliesInOrder() }))) same([events, replies], [1, 1], 'event and reply')
}
