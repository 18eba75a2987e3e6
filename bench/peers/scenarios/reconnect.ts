import { type Figures, type Run, measure } from '../measure.js'
import { Kind } from '../peer.js'
import { RawSocket } from '../raw-socket.js'

const CLIENTS = 5000
/** 12 KB. */
const RECORDS = 100

/** All clients lose their connection, miss an update, and come back, 500 at a time. */
export async function run (context: Run): Promise<Figures> {
  const { fleet, protocol, remotes: [server] } = context
  const state = (): Promise<unknown> => server!.ask({ do: 'state', key: 'state', records: RECORDS })
  if (protocol.subscribe === undefined) {
    await fleet.connect(1)
    await state()
    await fleet.connect(CLIENTS - 1)
  } else {
    await state()
    await fleet.connect(CLIENTS)
    await fleet.subscribe('state')
  }
  const update = async (): Promise<void> => {
    const all = new Promise<void>((resolve) => { fleet.count((kind) => kind === Kind.PATCH, () => { resolve() }) })
    await server!.ask({ do: 'once', operation: 'update' })
    await all
  }
  await update()
  const before = fleet.sockets.map(({ token, position }) => ({ token, position }))
  fleet.drop()
  await new Promise((resolve) => setTimeout(resolve, 500))
  await server!.ask({ do: 'once', operation: 'update' })
  const { cpu, elapsed, load } = await measure(context, async () => {
    let missing = CLIENTS
    const all = new Promise<void>((resolve) => { RawSocket.onMessage = (_socket, kind) => { if ((kind === Kind.PATCH || kind === Kind.SNAPSHOT) && --missing === 0) resolve() } })
    await fleet.connect(CLIENTS, 500, (socket, i) => { Object.assign(socket, before[i]) }, (socket) => { if (protocol.subscribe !== undefined) socket.send(...protocol.subscribe('state', socket, true)) })
    await all
  })
  return { 'all back, ms': elapsed, 'server µs/client': cpu / CLIENTS, 'bytes/client': fleet.bytes / CLIENTS, 'load CPU %': load }
}
