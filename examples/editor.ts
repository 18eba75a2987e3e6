import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { DatasoleServer } from 'datasole/server'
import { onStop } from './stop.js'

/** A text that everyone edits, with the cursors of all users. `editor/page.js` is the page's script. */
const ds = new DatasoleServer({
  // edits within a round trip are sent as one operation; cursors are sent up to ten times a second
  rateLimit: {
    defaultRule: { windowMs: 60_000, maxRequests: 100 },
    rules: { text: { windowMs: 1000, maxRequests: 50 }, 'text:awareness': { windowMs: 1000, maxRequests: 20 } }
  }
})
const { crdt, events, fanout } = ds.primitives
crdt.register('text', 'yjs')
events.on('text:awareness', ({ data }) => { fanout.broadcast('text:awareness', data) })

// `npm run bundle:example` bundles the page's script with Yjs
const files = new Map([
  ['/', { type: 'text/html', body: readFileSync(new URL('../../examples/editor/index.html', import.meta.url)) }],
  ['/page.js', { type: 'text/javascript', body: readFileSync(new URL('editor/page.js', import.meta.url)) }]
])
const http = createServer((req, res) => {
  const file = files.get(req.url ?? '')
  if (file === undefined) res.writeHead(404).end()
  else res.writeHead(200, { 'content-type': `${file.type}; charset=utf-8` }).end(file.body)
})
ds.transport.attach(http)
await ds.init()

http.listen(Number(process.env.PORT ?? 3000), () => {
  console.log(`Open http://localhost:${(http.address() as AddressInfo).port}`)
})

// http stops accepting connections, and datasole closes the open ones
onStop(async () => { http.close(); await ds.close() })
