import { setTimeout } from 'node:timers/promises'
import { type Figures, type Run, measure, quantiles } from '../measure.js'
import { Kind } from '../peer.js'
import { RawSocket } from '../raw-socket.js'

const CONNECTIONS = 1000
const CALLERS = 16
const CALLS_PER_SECOND = 400

/** Calls at a steady rate, while everybody gets 20 events a second. */
export async function run (context: Run): Promise<Figures> {
  const { ms, warmUp, fleet, remotes: [server] } = context
  await fleet.connect(CONNECTIONS)
  const both = async (ms: number): Promise<number[]> => {
    const took: number[] = []
    const { call, reply } = fleet.caller((ms) => { took.push(ms) })
    const counted = fleet.count(() => false, (count) => { server!.ack(count) })
    RawSocket.onMessage = (socket, kind) => {
      if (kind === Kind.REPLY) reply(socket)
      else if (kind === Kind.EVENT) counted(socket)
    }
    const calls = async (): Promise<void> => {
      const began = performance.now()
      for (let i = 0; performance.now() < began + ms; i++) {
        await setTimeout(Math.max(0, began + i * 1000 / CALLS_PER_SECOND - performance.now()))
        call(fleet.sockets[i % CALLERS]!)
      }
    }
    await Promise.all([server!.ask({ do: 'paced', operation: 'event', perSecond: 20, ms }), calls()])
    while (fleet.sockets.some(({ calls }) => calls.length > 0)) await setTimeout(5)
    return took
  }
  await both(warmUp)
  let took: number[] = []
  const { cpu, elapsed, load } = await measure(context, async () => { took = await both(ms) })
  const { p50, p99 } = quantiles(took)
  return { 'call p50 ms': p50, 'call p99 ms': p99, 'server CPU %': cpu / elapsed / 10, 'load CPU %': load }
}
