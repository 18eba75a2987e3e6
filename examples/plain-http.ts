import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { DatasoleServer } from 'datasole/server'
import { chat } from './chat.js'
import { chatContract } from './chat-contract.js'
import type { AppContract } from './contract.js'
import { onStop } from './stop.js'

/** The same chat beside any http server: requests for other paths than ours stay with its own listener. */
const ds = new DatasoleServer<AppContract>({ contract: chatContract })
const http = createServer((_req, res) => { res.end(`${ds.transport.getConnectionCount()} connected\n`) })
ds.transport.attach(http)
await chat(ds)
await ds.init()

http.listen(Number(process.env.PORT ?? 3000), () => {
  console.log(`Listening at http://localhost:${(http.address() as AddressInfo).port}`)
})

// http takes no more connections, and datasole ends those that there are
onStop(async () => { http.close(); await ds.close() })
