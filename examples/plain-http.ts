import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { DatasoleServer } from 'datasole/server'
import { chat } from './chat.js'
import { chatContract } from './chat-contract.js'
import type { AppContract } from './contract.js'
import { onStop } from './stop.js'

/** The same chat attached to a plain http server, whose own listener gets requests for all other paths. */
const ds = new DatasoleServer<AppContract>({ contract: chatContract })
const http = createServer((_req, res) => { res.end(`${ds.transport.getConnectionCount()} connected\n`) })
ds.transport.attach(http)
await chat(ds)
await ds.init()

http.listen(Number(process.env.PORT ?? 3000), () => {
  console.log(`Listening at http://localhost:${(http.address() as AddressInfo).port}`)
})

// http stops accepting connections, and datasole closes the open ones
onStop(async () => { http.close(); await ds.close() })
