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
for (let i = 0; i < 2; i++) void new DatasoleServer({ ...options[process.argv[2]!]!(), logger: capturedLogger(logs) })
process.send!(logs.filter((line) => line.includes('"level":40')))
