import type { Operation } from '../control.js'
import { type Figures, type Run, measure, quantiles } from '../measure.js'
import { Kind } from '../peer.js'
import { checkEvents } from '../replica.js'
import { largeEvent, smallEvent } from '../values.js'

interface Variant { connections: number, operation: Operation, window: number, perSecond?: number }

const variants: Record<string, Variant> = {
  paced: { connections: 1000, operation: 'event', window: 1, perSecond: 20 },
  flood: { connections: 1000, operation: 'event', window: 32 },
  large: { connections: 500, operation: 'large', window: 8 }
}

/** One event to all connections. */
export async function run (context: Run): Promise<Figures> {
  const { variant, ms, warmUp, fleet, remotes: [server] } = context
  const { connections, operation, window, perSecond } = variants[variant]!
  await fleet.connect(connections)
  const deliver = async (ms: number): Promise<{ sent: number, times: number[] }> => {
    fleet.count((kind) => kind === Kind.EVENT, (count) => { server!.ack(count) })
    if (perSecond === undefined) return await server!.ask({ do: 'flood', operation, window, ms })
    fleet.arrivals = []
    return await server!.ask({ do: 'paced', operation, perSecond, ms })
  }
  const first = await deliver(warmUp)
  const before = fleet.bytes
  let sent = 0
  let times: number[] = []
  const { cpu, elapsed, load } = await measure(context, async () => { ({ sent, times } = await deliver(ms)) })
  const bytes = fleet.bytes - before
  await checkEvents(fleet, operation === 'large' ? largeEvent : smallEvent, first.sent + sent)
  const deliveries = sent * connections
  const figures: Figures = { 'server µs/delivery': cpu / deliveries }
  if (fleet.arrivals === undefined) figures['deliveries/s'] = deliveries / elapsed * 1000
  else {
    const { p50, p99 } = quantiles(fleet.arrivals.flatMap((arrivals, i) => arrivals.map((at) => at - times[i]!)))
    figures['p50 ms'] = p50
    figures['p99 ms'] = p99
  }
  figures['bytes/delivery'] = bytes / deliveries
  figures['load CPU %'] = load
  return figures
}
