import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import { DatasoleError } from '../../lib/protocol/errors.js'
import { refuseUpgrade } from '../../lib/server/auth/refuse-upgrade.js'

/** Handles the requests and upgrades of its own paths. A method returns whether it handled this one. */
export interface Tenant {
  /** Path of the WebSocket, unique among the tenants of a server. */
  path: string
  request? (req: IncomingMessage, res: ServerResponse): boolean
  upgrade (req: IncomingMessage, socket: Duplex, head: Buffer): boolean
  /** Called when the server accepts no more connections and waits for the open ones. */
  closing? (): void
}

/**
 * Intercepts the requests and upgrades of an http server. A request that a tenant handles reaches no other listener. All
 * others reach the http server's own listeners unchanged, even if listeners are added or removed later.
 *
 * It replaces `emit`, because a listener cannot stop other listeners and does not know later ones. Other WebSocket
 * servers end every upgrade that is not theirs, and some remove all request listeners to call them themselves. All
 * tenants of a server share one front door.
 */
class FrontDoor {
  readonly tenants = new Set<Tenant>()
  readonly #server: Server
  readonly #emit: Server['emit']
  readonly #close: Server['close']
  readonly #own: ReadonlySet<'emit' | 'close'>

  constructor (server: Server) {
    this.#server = server
    this.#own = new Set((['emit', 'close'] as const).filter((name) => Object.hasOwn(server, name)))
    this.#emit = server.emit
    this.#close = server.close
    server.emit = this.#dispatch as Server['emit']
    server.close = this.#closing as Server['close']
    // without an upgrade listener, http treats an upgrade as a plain request
    server.on('upgrade', this.#unclaimed)
    // without a request listener, http2 creates no requests from its streams
    if (isHttp2(server)) server.on('request', unanswered)
  }

  remove (): void {
    const server = this.#server
    server.off('upgrade', this.#unclaimed)
    server.off('request', unanswered)
    // if other code has wrapped our function since, leave it: without tenants it passes everything on
    if (server.emit === this.#dispatch) this.#restore('emit', this.#emit)
    if (server.close === this.#closing) this.#restore('close', this.#close)
  }

  #restore (name: 'emit' | 'close', before: Server['emit'] | Server['close']): void {
    if (this.#own.has(name)) Object.assign(this.#server, { [name]: before })
    else delete (this.#server as { emit?: unknown, close?: unknown })[name]
  }

  readonly #dispatch = (event: string, ...args: unknown[]): boolean => {
    if (event === 'upgrade') {
      const [req, socket, head] = args as [IncomingMessage, Duplex, Buffer]
      for (const tenant of this.tenants) if (tenant.upgrade(req, socket, head)) return true
    } else if (event === 'request') {
      const [req, res] = args as [IncomingMessage, ServerResponse]
      for (const tenant of this.tenants) if (tenant.request?.(req, res)) return true
      // without another listener, the client would get no answer
      if (this.#isAlone) return notFound(res)
    }
    return Reflect.apply(this.#emit, this.#server, [event, ...args]) as boolean
  }

  /** Whether there is no other request listener at this moment. With http2, one `stream` listener is Node's own. */
  get #isAlone (): boolean {
    const server = this.#server
    return isHttp2(server)
      ? server.listenerCount('request') === 1 && server.listenerCount('stream') <= 1
      : server.listenerCount('request') === 0
  }

  readonly #closing = (...args: unknown[]): unknown => {
    for (const tenant of this.tenants) tenant.closing?.()
    return Reflect.apply(this.#close, this.#server, args)
  }

  /** Refuses an upgrade that no tenant handled, if there is no other upgrade listener. */
  readonly #unclaimed = (_req: IncomingMessage, socket: Duplex): void => {
    if (this.#server.listenerCount('upgrade') > 1) return
    refuseUpgrade(socket, { status: 404 })
  }
}

function notFound (res: ServerResponse): true {
  res.writeHead(404).end()
  return true
}

function unanswered (): void {}

/** Whether it is an http2 server that also accepts HTTP/1.1. It has the same events, but creates requests only for listeners. */
function isHttp2 (server: Server): boolean {
  return 'updateSettings' in server
}

const doors = new WeakMap<Server, FrontDoor>()

/**
 * Adds a tenant to a server.
 * @throws DatasoleError `PATH_TAKEN` if another tenant has its path
 * @returns removes the tenant; after the last one, the server is as it was before
 */
export function enter (server: Server, tenant: Tenant): () => void {
  let door = doors.get(server)
  if (door === undefined) doors.set(server, door = new FrontDoor(server))
  for (const { path } of door.tenants) {
    if (path === tenant.path) throw new DatasoleError('PATH_TAKEN', `another datasole server already has the path ${path} on this http server: give one of them another path, or await close() of the old one first`)
  }
  door.tenants.add(tenant)
  return () => {
    if (!door.tenants.delete(tenant) || door.tenants.size > 0) return
    door.remove()
    doors.delete(server)
  }
}

/** The raw path of a request, without decoding or normalization. It never throws, unlike a URL parser. */
export function pathOf (req: IncomingMessage): string {
  const url = req.url ?? ''
  const end = url.indexOf('?')
  return end < 0 ? url : url.slice(0, end)
}
