import { type Figures, type Run, measure } from '../measure.js'
import { Kind } from '../peer.js'
import { checkEvents } from '../replica.js'
import { smallEvent } from '../values.js'

const CONNECTIONS = 500
const BURST = 100

/** Bursts of events on one node, for the clients of another; CPU is that of both. */
export async function run (context: Run): Promise<Figures> {
  const { ms, warmUp, fleet, remotes: [publisher] } = context
  await fleet.connect(CONNECTIONS)
  const times: number[] = []
  const bursts = async (ms: number): Promise<number> => {
    let sent = 0
    for (const end = performance.now() + ms; performance.now() < end;) {
      fleet.count((kind) => kind === Kind.EVENT, (count) => { publisher!.ack(count) })
      const began = performance.now()
      sent += (await publisher!.ask({ do: 'flood', operation: 'event', window: BURST, ms: 10_000, limit: BURST })).sent
      times.push(performance.now() - began)
    }
    return sent
  }
  const before = await bursts(warmUp)
  times.length = 0
  let sent = 0
  const { cpu, elapsed, load } = await measure(context, async () => { sent = await bursts(ms) })
  await checkEvents(fleet, smallEvent, before + sent)
  return { 'µs/delivery, both nodes': cpu / sent / CONNECTIONS, 'deliveries/s': sent * CONNECTIONS / elapsed * 1000, 'burst of 100, ms': times.sort((a, b) => a - b)[Math.floor(times.length / 2)]!, 'load CPU %': load }
}
