import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import { refuseUpgrade } from '../lib/server/refuse-upgrade.js'

/** Takes the requests and upgrades that are its own; each method returns whether it took this one. */
export interface Tenant {
  request? (req: IncomingMessage, res: ServerResponse): boolean
  upgrade (req: IncomingMessage, socket: Duplex, head: Buffer): boolean
}

/**
 * The door of an http server that others share. What a tenant takes, no other listener sees;
 * everything else reaches the owner's listeners untouched, whoever adds or removes them, whenever.
 *
 * It stands before the server's listeners, at `emit`, since a listener can neither stop those after
 * it nor know who will be added: other WebSocket servers end every upgrade that is not theirs, and
 * some take all request listeners away and call them themselves. All tenants of a server share one.
 */
class FrontDoor {
  readonly tenants = new Set<Tenant>()
  readonly #server: Server
  readonly #emit: Server['emit']
  readonly #hadOwnEmit: boolean

  constructor (server: Server) {
    this.#server = server
    this.#hadOwnEmit = Object.hasOwn(server, 'emit')
    this.#emit = server.emit
    server.emit = this.#dispatch as Server['emit']
    // without any upgrade listener, http takes an upgrade for a plain request
    server.on('upgrade', this.#unclaimed)
  }

  remove (): void {
    this.#server.off('upgrade', this.#unclaimed)
    // where somebody has put another emit in front since, ours stays and passes everything on
    if (this.#server.emit !== this.#dispatch) return
    if (this.#hadOwnEmit) this.#server.emit = this.#emit
    else delete (this.#server as { emit?: unknown }).emit
  }

  readonly #dispatch = (event: string, ...args: unknown[]): boolean => {
    if (event === 'upgrade') {
      const [req, socket, head] = args as [IncomingMessage, Duplex, Buffer]
      for (const tenant of this.tenants) if (tenant.upgrade(req, socket, head)) return true
    } else if (event === 'request') {
      const [req, res] = args as [IncomingMessage, ServerResponse]
      for (const tenant of this.tenants) if (tenant.request?.(req, res)) return true
    }
    return Reflect.apply(this.#emit, this.#server, [event, ...args]) as boolean
  }

  /** An upgrade that no tenant took. Where nobody else listens, nobody else would ever answer it. */
  readonly #unclaimed = (_req: IncomingMessage, socket: Duplex): void => {
    if (this.#server.listenerCount('upgrade') > 1) return
    refuseUpgrade(socket, '404 Not Found')
  }
}

const doors = new WeakMap<Server, FrontDoor>()

/**
 * Puts a tenant at the door of a server.
 * @returns takes it away again; the last one to leave leaves the server as it was
 */
export function enter (server: Server, tenant: Tenant): () => void {
  let door = doors.get(server)
  if (door === undefined) doors.set(server, door = new FrontDoor(server))
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
