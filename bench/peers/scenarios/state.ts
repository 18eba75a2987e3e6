import { type Figures, type Run, measure } from '../measure.js'
import { Kind } from '../peer.js'
import { replay, same } from '../replica.js'
import { valueAfter } from '../values.js'

const RECORDS = 1000

/** Two fields of a state of 118 KB change. The variant is `<subscribers>-<operation>`. */
export async function run (context: Run): Promise<Figures> {
  const { variant, ms, warmUp, fleet, remotes: [server] } = context
  const [subscribers, operation] = variant.split('-') as [string, 'update' | 'replace']
  const count = Number(subscribers)
  if (context.protocol.subscribe === undefined) {
    // the room has its state before anybody comes
    await fleet.connect(1)
    await server!.ask({ do: 'state', key: 'state', records: RECORDS })
    fleet.drop()
    await fleet.connect(count)
  } else {
    await server!.ask({ do: 'state', key: 'state', records: RECORDS })
    await fleet.connect(count)
    await fleet.subscribe('state')
  }
  const change = async (ms: number): Promise<number> => {
    fleet.count((kind) => kind === Kind.PATCH, (complete) => { server!.ack(complete) })
    return (await server!.ask({ do: 'flood', operation, window: count === 1 ? 64 : 8, ms })).sent
  }
  const first = await change(warmUp)
  const before = fleet.bytes
  let sent = 0
  const { cpu, elapsed, load } = await measure(context, async () => { sent = await change(ms) })
  const bytes = fleet.bytes - before
  const expected = valueAfter(RECORDS, first + sent)
  for (const { values } of await replay(fleet)) same(values.get('state'), expected, 'state')
  return { 'server µs/update': cpu / sent, 'updates/s': sent / elapsed * 1000, 'bytes/update and client': bytes / sent / count, 'load CPU %': load }
}
