import { EventEmitter, once } from 'node:events'
import { WebSocket } from 'ws'
import { type ConnectionState, DatasoleClient, type DatasoleClientOptions, type DatasoleContract, type DatasoleError } from '../../lib/client/client.js'
import { type Listening, type Peer, listen } from './peer.js'
import { inTime } from '../helpers/until.js'

/** That of `ws`, or with CLIENT_WEBSOCKET=own the one of this Node.js, which 22 and later have. */
const webSocket = process.env.CLIENT_WEBSOCKET === 'own' ? (globalThis as { WebSocket?: unknown }).WebSocket as typeof WebSocket : WebSocket

interface Test { teardown (fn: () => unknown): void }

/** A client under test, and what it said outside of promises. */
export interface Watched<C extends DatasoleContract = DatasoleContract> {
  client: DatasoleClient<C>
  /** What went to `onError`. */
  errors: unknown[]
  states: ConnectionState[]
  causes: Array<DatasoleError | undefined>
  /** Looks after every change of state and every error. */
  until (isTrue: () => boolean): Promise<void>
}

/** A client that reconnects at once unless the test says otherwise, and ends with the test. */
export function watch<C extends DatasoleContract = DatasoleContract> (t: Test, options: DatasoleClientOptions): Watched<C> {
  const news = new EventEmitter().setMaxListeners(0)
  const errors: unknown[] = []
  const states: ConnectionState[] = []
  const causes: Array<DatasoleError | undefined> = []
  const client = new DatasoleClient<C>({
    webSocket,
    reconnectInterval: 10,
    onError: (error) => {
      errors.push(error)
      news.emit('news')
    },
    ...options
  })
  client.onConnectionState((state, cause) => {
    states.push(state)
    causes.push(cause)
    news.emit('news')
  })
  t.teardown(() => client.disconnect())
  return {
    client,
    errors,
    states,
    causes,
    async until (isTrue) { while (!isTrue()) await inTime(once(news, 'news'), () => `news after which ${isTrue.toString()}`) }
  }
}

/** A client that is connected to a peer of the test. */
export async function dial (t: Test, options: DatasoleClientOptions = {}, welcome?: Parameters<Peer['welcome']>[0]): Promise<Watched & { server: Listening, peer: Peer }> {
  const server = await listen(t)
  const watched = watch(t, { url: server.url, ...options })
  const connected = watched.client.connect()
  const peer = (await server.accept()).welcome(welcome)
  await connected
  return { ...watched, server, peer }
}
