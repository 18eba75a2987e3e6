import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { DatasoleServer } from 'datasole/server'
import type { AppContract } from './contract.js'
import { onStop } from './stop.js'

/** A form that is saved while the user fills it in, and a board to which everyone can add notes. */
const ds = new DatasoleServer<AppContract>()
const { live } = ds.primitives

const form = live.createSyncChannel({
  key: 'form',
  direction: 'client-to-server',
  mode: 'json-patch',
  flush: { flushStrategy: 'debounced', debounceMs: 500 }
})
// runs after half a second without changes, or when the tab is closed
form.onFlush((value, _patches, connection) => {
  console.log(`saved the form of ${connection?.userId}: ${JSON.stringify(value)}`)
})

live.createSyncChannel({
  key: 'board',
  direction: 'bidirectional',
  mode: 'json-patch',
  flush: { flushStrategy: 'batched', batchIntervalMs: 50, maxBatchSize: 20 },
  initialValue: { notes: [] },
  // the sender of an invalid change gets an error, and other clients do not see the change
  validate: ({ notes }) => notes.length <= 100 && notes.every(({ text }) => typeof text === 'string' && text.length <= 280)
})

const http = createServer((_req, res) => { res.end('datasole\n') })
ds.transport.attach(http)
await ds.init()
http.listen(Number(process.env.PORT ?? 3000), () => {
  console.log(`Listening at http://localhost:${(http.address() as AddressInfo).port}`)
})

// http stops accepting connections, and datasole closes the open ones
onStop(async () => { http.close(); await ds.close() })
