import { DatasoleServer, MemoryBackend } from '../../plugins/server.js'
import type { DatasoleServerOptions } from '../../plugins/server.js'
import { capturedLogger } from './entrances.js'

/** Opens two servers, as its argument says, and sends what they have logged. */
const options: Record<string, () => DatasoleServerOptions> = {
  default: () => ({}),
  memory: () => ({ backendConfig: { type: 'memory' } }),
  instance: () => ({ stateBackend: new MemoryBackend() }),
  redis: () => ({ backendConfig: { type: 'redis' } })
}
const logs: string[] = []
for (let i = 0; i < 2; i++) {
  const ds = new DatasoleServer({ ...options[process.argv[2]!]!(), logger: capturedLogger(logs) })
  // a plugin may still give it another store: in memory it is for sure once the server has started
  if (process.argv[2] !== 'redis') await ds.init()
  await ds.close()
}
process.send!(logs.filter((line) => line.includes('"level":40')))
