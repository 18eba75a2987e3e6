import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { fileURLToPath } from 'node:url'
import { DatasoleServer } from 'datasole/server'
import { createServer as createVite } from 'vite'
import { boardContract } from './react/board-contract.js'
import { onStop } from './stop.js'

/** A board that several browsers share. The page uses React, and Vite builds it on demand. */
const ds = new DatasoleServer({
  contract: boardContract,
  rateLimit: { defaultRule: { windowMs: 60_000, maxRequests: 600 }, rules: { cursor: { windowMs: 1000, maxRequests: 30 } } }
})
const { live, events, fanout } = ds.primitives
const NAMES = ['Ada', 'Grace', 'Alan', 'Edsger', 'Barbara', 'Donald', 'Radia', 'Leslie']
let count = 0

live.createSyncChannel({
  key: 'cards',
  direction: 'bidirectional',
  mode: 'json-patch',
  initialValue: [
    { id: 'a', text: 'Drag a card, or move it with the arrow keys', column: 'Ideas' },
    { id: 'b', text: 'Open this page in a second window', column: 'Ideas' },
    { id: 'c', text: 'Unplug the network, move cards, plug it in again', column: 'Doing' },
    { id: 'd', text: 'Start the server', column: 'Done' }
  ]
})
await live.setState('people', {})
ds.addHook('onConnect', async ({ connectionId }) => {
  const person = { name: NAMES[count % NAMES.length]!, hue: (count++ * 137) % 360 }
  await live.update('people', (people) => { people![connectionId] = person })
})
ds.addHook('onDisconnect', async ({ connectionId }) => {
  await live.update('people', (people) => { delete people![connectionId] })
})
ds.rpc.register('rename', async ({ name }, { connection }) => {
  await live.update('people', (people) => { people![connection.connectionId]!.name = name })
  return undefined
})
events.on('cursor', ({ data }, connection) => {
  if (connection !== undefined) fanout.broadcast('cursor', { ...data, id: connection.connectionId })
})

const http = createServer()
ds.transport.attach(http)
await ds.init()
const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url))
const vite = await createVite({
  root: here('../../examples/react'),
  cacheDir: here('../../node_modules/.vite/react-board'),
  configFile: false,
  logLevel: 'warn',
  server: { middlewareMode: true, hmr: { server: http } }
})
http.on('request', (request, response) => {
  if (!request.url!.startsWith('/__ds')) vite.middlewares(request, response)
})
http.listen(Number(process.env.PORT ?? 3000), () => {
  console.log(`Open http://localhost:${(http.address() as AddressInfo).port}`)
})

onStop(async () => {
  http.close()
  await ds.close()
  await vite.close()
})
