import { createServer } from 'node:http'
import { DatasoleServer } from '../plugins/server.js'

/** One of the processes of `drain.ts`, under pm2. */
const http = createServer()
const ds = new DatasoleServer({ rateLimit: false, drainMs: Number(process.env.DRAIN_MS), closeTimeoutMs: 5000 })
ds.transport.attach(http)
await ds.init()
ds.rpc.register('echo', async (params) => {
  await new Promise((resolve) => setTimeout(resolve, 20)) // so that some are under way at any time
  return params
})
http.listen(Number(process.env.PORT), '127.0.0.1', 10_000, () => { process.send!('ready') })
process.once('SIGINT', () => { http.close(); void ds.close().then(() => process.exit()) })
