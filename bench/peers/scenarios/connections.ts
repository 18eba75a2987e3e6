import { type Figures, type Run, measure } from '../measure.js'

const CONNECTIONS = 3000

/** Connections that do nothing: the CPU that they took to come, and the memory that they hold. */
export async function run (context: Run): Promise<Figures> {
  const { fleet, remotes: [server] } = context
  // code that is compiled and tables that grow with the first connections are not theirs
  await fleet.connect(500)
  const before = await server!.ask({ do: 'memory' })
  const { cpu, elapsed, load } = await measure(context, () => fleet.connect(CONNECTIONS))
  const after = await server!.ask({ do: 'memory' })
  const each = (kind: 'heap' | 'rss'): number => (after[kind] - before[kind]) / CONNECTIONS / 1024
  return { 'server µs/connect': cpu / CONNECTIONS, 'connects/s': CONNECTIONS / elapsed * 1000, 'heap KiB each': each('heap'), 'rss KiB each': each('rss'), 'load CPU %': load }
}
