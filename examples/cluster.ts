import cluster from 'node:cluster'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { DatasoleServer, RedisBackend } from 'datasole/server'
import { chat } from './chat.js'
import { chatContract } from './chat-contract.js'
import type { AppContract } from './contract.js'
import { onStop } from './stop.js'

/**
 * The same chat in two processes that share a port and a Redis, so that clients of both processes talk to each other.
 * With pm2 in cluster mode, only the `else` branch is needed. If a process is killed, its people stay in the list.
 */
if (cluster.isPrimary) {
  for (let i = 0; i < 2; i++) cluster.fork()
  let isStopping = false
  // replace a crashed process; its clients reconnect
  cluster.on('exit', () => { if (!isStopping) cluster.fork() })
  onStop(async () => {
    isStopping = true
    const workers = Object.values(cluster.workers ?? {}).filter((worker) => worker !== undefined)
    await Promise.all(workers.map((worker) => {
      worker.process.kill('SIGTERM')
      return once(worker, 'exit')
    }))
  })
} else {
  const ds = new DatasoleServer<AppContract>({
    contract: chatContract,
    stateBackend: new RedisBackend({ url: process.env.REDIS_URL, keyPrefix: process.env.PREFIX ?? 'chat:' })
  })
  const http = createServer((_req, res) => { res.end(`process ${process.pid}: ${ds.transport.getConnectionCount()} connected\n`) })
  ds.transport.attach(http)
  await ds.init()
  await chat(ds)
  http.listen(Number(process.env.PORT ?? 3000), () => {
    console.log(`Process ${process.pid}, listening at http://localhost:${(http.address() as AddressInfo).port}`)
  })
  onStop(async () => { http.close(); await ds.close() })
}
