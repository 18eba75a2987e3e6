import { setTimeout } from 'node:timers/promises'
import { type Figures, type Run, measure, quantiles } from '../measure.js'
import { Kind } from '../peer.js'
import { RawSocket } from '../raw-socket.js'
import { eventsOf, repliesInOrder, replay, same } from '../replica.js'
import { smallEvent } from '../values.js'

const CONNECTIONS = 1000
const CALLERS = 16
const CALLS_PER_SECOND = 400

/** Calls at a steady rate: first with nothing else, then while everybody gets 20 events a second. */
export async function run (context: Run): Promise<Figures> {
  const { ms, warmUp, fleet, remotes: [server] } = context
  await fleet.connect(CONNECTIONS)
  const took: number[] = []
  const { call, reply } = fleet.caller((ms) => { took.push(ms) })
  let sent = 0
  const calls = async (ms: number): Promise<void> => {
    const began = performance.now()
    for (let i = 0; performance.now() < began + ms; i++) {
      await setTimeout(Math.max(0, began + i * 1000 / CALLS_PER_SECOND - performance.now()))
      call(fleet.sockets[i % CALLERS]!)
    }
  }
  const load = async (ms: number, hasEvents: boolean): Promise<{ p50: number, p99: number }> => {
    took.length = 0
    const counted = fleet.count(() => false, (count) => { server!.ack(count) })
    RawSocket.onMessage = (socket, kind) => {
      if (kind === Kind.REPLY) reply(socket)
      else if (kind === Kind.EVENT) counted(socket)
    }
    const events = hasEvents ? server!.ask({ do: 'paced', operation: 'event', perSecond: 20, ms }) : undefined
    await calls(ms)
    sent += (await events)?.sent ?? 0
    while (fleet.sockets.some(({ calls }) => calls.length > 0)) await setTimeout(5)
    return quantiles(took)
  }
  await load(warmUp, true)
  const idle = await load(ms, false)
  let busy = idle
  const { cpu, elapsed, load: share } = await measure(context, async () => { busy = await load(ms, true) })
  for (const { events } of await replay(fleet, () => ({ ...eventsOf(smallEvent), ...repliesInOrder() }))) same(events, sent, 'number of events')
  return { 'idle p50 ms': idle.p50, 'idle p99 ms': idle.p99, 'p50 ms': busy.p50, 'p99 ms': busy.p99, 'server CPU %': cpu / elapsed / 10, 'load CPU %': share }
}
