import { type Figures, type Run, measure, quantiles } from '../measure.js'
import { Kind } from '../peer.js'
import { RawSocket } from '../raw-socket.js'

const CONNECTIONS = 50
const IN_FLIGHT = 16

/** Calls that are echoed. */
export async function run (context: Run): Promise<Figures> {
  const { fleet } = context
  await fleet.connect(CONNECTIONS)
  const calls = async (ms: number): Promise<number[]> => {
    const took: number[] = []
    const end = performance.now() + ms
    let open = 0
    await new Promise<void>((resolve) => {
      const { call, reply } = fleet.caller((ms) => { took.push(ms) })
      RawSocket.onMessage = (socket, kind) => {
        if (kind !== Kind.REPLY) return
        reply(socket)
        if (performance.now() < end) call(socket)
        else if (--open === 0) resolve()
      }
      for (const socket of fleet.sockets) for (let i = 0; i < IN_FLIGHT; i++, open++) call(socket)
    })
    return took
  }
  await calls(context.warmUp)
  let took: number[] = []
  const { cpu, elapsed, load } = await measure(context, async () => { took = await calls(context.ms) })
  const { p50, p99 } = quantiles(took)
  return { 'server µs/call': cpu / took.length, 'calls/s': took.length / elapsed * 1000, 'p50 ms': p50, 'p99 ms': p99, 'load CPU %': load }
}
