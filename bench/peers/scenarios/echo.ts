import { type Figures, type Run, measure, quantiles } from '../measure.js'
import { Kind } from '../peer.js'
import { RawSocket } from '../raw-socket.js'
import { repliesInOrder, replay, same } from '../replica.js'

const variants: Record<string, { connections: number, inFlight: number }> = {
  many: { connections: 50, inFlight: 16 },
  single: { connections: 1, inFlight: 1 }
}

/** Calls that are echoed. */
export async function run (context: Run): Promise<Figures> {
  const { variant, fleet } = context
  const { connections, inFlight } = variants[variant]!
  await fleet.connect(connections)
  const took: number[] = []
  const { call, reply } = fleet.caller((ms) => { took.push(ms) })
  const calls = async (ms: number): Promise<void> => {
    took.length = 0
    const end = performance.now() + ms
    let open = 0
    await new Promise<void>((resolve) => {
      RawSocket.onMessage = (socket, kind) => {
        if (kind !== Kind.REPLY) return
        reply(socket)
        socket.count++
        if (performance.now() < end) call(socket)
        else if (--open === 0) resolve()
      }
      for (const socket of fleet.sockets) for (let i = 0; i < inFlight; i++, open++) call(socket)
    })
  }
  await calls(context.warmUp)
  const { cpu, elapsed, load } = await measure(context, () => calls(context.ms))
  for (const [i, { replies }] of (await replay(fleet, repliesInOrder)).entries()) same(replies, fleet.watched[i]!.count, 'number of replies')
  const { p50, p99 } = quantiles(took)
  const figures: Figures = { 'server µs/call': cpu / took.length, 'calls/s': took.length / elapsed * 1000 }
  if (variant === 'single') Object.assign(figures, { 'p50 µs': p50 * 1000, 'p99 µs': p99 * 1000 })
  else Object.assign(figures, { 'p50 ms': p50, 'p99 ms': p99 })
  return { ...figures, 'load CPU %': load }
}
