import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import { DatasoleError } from '../../lib/protocol/errors.js'
import { refuseUpgrade } from '../../lib/server/auth/refuse-upgrade.js'

/** Takes the requests and upgrades that are its own; each method returns whether it took this one. */
export interface Tenant {
  /** Of the WebSocket: no two tenants of a server have one. */
  path: string
  request? (req: IncomingMessage, res: ServerResponse): boolean
  upgrade (req: IncomingMessage, socket: Duplex, head: Buffer): boolean
  /** The server takes no more connections, and waits for the open ones. */
  closing? (): void
}

/**
 * Entrance to an http server that several listeners share. A request that a tenant takes reaches no other listener. All
 * others reach the owner's listeners unchanged, whoever adds or removes them, at any time.
 *
 * It stands before the server's listeners, at `emit`, since a listener can neither stop those after it nor know who
 * will be added: other WebSocket servers end every upgrade that is not theirs, and some take all request listeners away
 * and call them themselves. All tenants of a server share one.
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
    // without any upgrade listener, http takes an upgrade for a plain request
    server.on('upgrade', this.#unclaimed)
    // without any request listener, http2 makes no requests of its streams
    if (isHttp2(server)) server.on('request', unanswered)
  }

  remove (): void {
    const server = this.#server
    server.off('upgrade', this.#unclaimed)
    server.off('request', unanswered)
    // if other code has wrapped it since, ours stays and passes everything on
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
      // without another listener the client would wait for ever
      if (this.#isAlone) return notFound(res)
    }
    return Reflect.apply(this.#emit, this.#server, [event, ...args]) as boolean
  }

  /** Nobody else answers requests, at this moment: listeners may come later. With http2, `stream` has one that makes requests. */
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

  /** Answers an upgrade that no tenant took, if there is no other listener that could. */
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

/** An http2 server that also speaks HTTP/1.1 has the same events, but makes requests only for their listeners. */
function isHttp2 (server: Server): boolean {
  return 'updateSettings' in server
}

const doors = new WeakMap<Server, FrontDoor>()

/**
 * Puts a tenant at the door of a server.
 * @throws DatasoleError `PATH_TAKEN` where another tenant has its path
 * @returns takes it away again; the last one to leave leaves the server as it was
 */
export function enter (server: Server, tenant: Tenant): () => void {
  let door = doors.get(server)
  if (door === undefined) doors.set(server, door = new FrontDoor(server))
  for (const { path } of door.tenants) {
    if (path === tenant.path) throw new DatasoleError('PATH_TAKEN', `another datasole server has the path ${path} on this http server: give one of them another path, or await the close() of the one that it replaces`)
  }
  door.tenants.add(tenant)
  return () => {
    if (!door.tenants.delete(tenant) || door.tenants.size > 0) return
    door.remove()
    doors.delete(server)
  }
}

/** The path of a request, as it came: no decoding, no normalization, and nothing that a parser could choke on. */
export function pathOf (req: IncomingMessage): string {
  const url = req.url ?? ''
  const end = url.indexOf('?')
  return end < 0 ? url : url.slice(0, end)
}
