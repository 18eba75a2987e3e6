import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { DatasoleServer } from 'datasole/server'
import { onStop } from './stop.js'

/** One text that everyone edits, and who is there: `editor/page.js` is the page's part. */
const ds = new DatasoleServer({
  // what is typed within a round trip is one operation; a cursor says ten times a second where it is
  rateLimit: {
    defaultRule: { windowMs: 60_000, maxRequests: 100 },
    rules: { text: { windowMs: 1000, maxRequests: 50 }, 'text:awareness': { windowMs: 1000, maxRequests: 20 } }
  }
})
const { crdt, events, fanout } = ds.primitives
crdt.register('text', 'yjs')
events.on('text:awareness', ({ data }) => { fanout.broadcast('text:awareness', data) })

// the page's script is bundled with Yjs by `npm run bundle:example`
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

// http takes no more connections, and datasole ends those that there are
onStop(async () => { http.close(); await ds.close() })
