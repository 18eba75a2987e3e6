import { type Figures, type Run, measure } from '../measure.js'
import { replay, same } from '../replica.js'
import { makeValue } from '../values.js'

const SUBSCRIBERS = 2000
/** 1 MB. */
const RECORDS = 8700

/** Connections that all subscribe to one large key in the same moment. */
export async function run (context: Run): Promise<Figures> {
  const { fleet, remotes: [server] } = context
  await server!.ask({ do: 'state', key: 'state', records: RECORDS })
  await fleet.connect(SUBSCRIBERS)
  const { rss } = await server!.ask({ do: 'memory' })
  const bytes = fleet.bytes
  const { cpu, elapsed, load } = await measure(context, () => fleet.subscribe('state'))
  const { peak } = await server!.ask({ do: 'usage' })
  for (const { values } of await replay(fleet)) same(values.get('state'), makeValue(RECORDS), 'state')
  return { 'all have it, ms': elapsed, 'server µs/subscriber': cpu / SUBSCRIBERS, 'bytes/subscriber': (fleet.bytes - bytes) / SUBSCRIBERS, 'rss growth, MiB': Math.max(0, peak - rss) / 2 ** 20, 'load CPU %': load }
}
