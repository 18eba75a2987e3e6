import { EventEmitter } from 'node:events'
import { Duplex } from 'node:stream'
import { pino } from 'pino'
import type { ServerSocket } from '../lib/server/connection/server-socket.js'
import { type Core } from '../lib/server/core.js'
import type { DatasoleServerOptions } from '../plugins/connections.js'
import { workerCompiler } from '../plugins/schema-compiler.js'
import { Datasole, createCore } from '../lib/server/datasole.js'

/** A WebSocket without a network: what is written is dropped. */
export class FakeSocket extends EventEmitter implements ServerSocket {
  readonly raw = new Duplex({ read () {}, write: (_chunk, _encoding, done) => { done() }, writev: (_chunks, done) => { done() } })
  close (): void { this.emit('close', 1000) }
  terminate (): void { this.close() }
}

/** The server without its outside. */
export function fakeServer (options: DatasoleServerOptions = {}): { core: Core, ds: Datasole } {
  const core = createCore({ rateLimit: false, ...options }, pino({ level: 'silent' }), workerCompiler())
  return { core, ds: new Datasole(core) }
}

export async function connect (core: Core): Promise<FakeSocket> {
  const socket = new FakeSocket()
  core.accept(socket, socket.raw, await core.connectHooks.admit({ auth: { authenticated: true }, remoteAddress: '', protocol: 3, transport: 'websocket' }))
  return socket
}

export function nextTurn (): Promise<void> {
  return new Promise((resolve) => { setImmediate(resolve) })
}
