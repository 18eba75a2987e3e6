import { type Figures, type Run, measure } from '../measure.js'
import { Kind } from '../peer.js'
import { RawSocket } from '../raw-socket.js'
import { Replica, same } from '../replica.js'
import { valueAfter } from '../values.js'

const CLIENTS = 5000
/** 12 KB. */
const RECORDS = 100

/** All clients lose their connection, miss an update, and come back, 500 at a time. */
export async function run (context: Run): Promise<Figures> {
  const { fleet, protocol, remotes: [server] } = context
  const state = (): Promise<unknown> => server!.ask({ do: 'state', key: 'state', records: RECORDS })
  RawSocket.isRecovering = true
  if (protocol.subscribe === undefined) {
    // the room has its state before anybody comes
    await fleet.connect(1)
    await state()
    fleet.drop()
  } else await state()
  await fleet.connect(CLIENTS)
  await fleet.subscribe('state')
  const all = new Promise<void>((resolve) => { fleet.count((kind) => kind === Kind.PATCH, () => { resolve() }) })
  await server!.ask({ do: 'once', operation: 'update' })
  await all
  const old = fleet.sockets.slice()
  const replicas = new Map<number, Replica>()
  for (const socket of fleet.watched) {
    const replica = await Replica.make()
    await replica.read(socket)
    same(replica.values.get('state'), valueAfter(RECORDS, 1), 'state')
    replicas.set(old.indexOf(socket), replica)
  }
  fleet.drop()
  await new Promise((resolve) => setTimeout(resolve, 500))
  await server!.ask({ do: 'once', operation: 'update' })
  const back = new Map<number, RawSocket>()
  let patches = 0
  const { cpu, elapsed, load } = await measure(context, async () => {
    let missing = CLIENTS
    const all = new Promise<void>((resolve) => {
      RawSocket.onMessage = (_socket, kind) => {
        if (kind !== Kind.PATCH && kind !== Kind.SNAPSHOT) return
        if (kind === Kind.PATCH) patches++
        if (--missing === 0) resolve()
      }
    })
    const onMade = (socket: RawSocket, i: number): void => {
      const { token, position } = old[i]!
      Object.assign(socket, { token, position })
      if (!replicas.has(i)) return
      back.set(i, socket)
      socket.keepLog()
    }
    await fleet.connect(CLIENTS, 500, onMade, (socket) => { if (protocol.subscribe !== undefined) socket.send(...protocol.subscribe('state', socket, true)) })
    await all
  })
  const { bytes } = fleet
  same(patches, protocol.recovers === true ? CLIENTS : 0, 'number of clients that got what they missed')
  for (const [i, replica] of replicas) {
    await replica.read(back.get(i)!)
    same(replica.values.get('state'), valueAfter(RECORDS, 2), 'state')
  }
  return { 'all back, ms': elapsed, 'server µs/client': cpu / CLIENTS, 'bytes/client': bytes / CLIENTS, 'by patch, %': patches / CLIENTS * 100, 'load CPU %': load }
}
