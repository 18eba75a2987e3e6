import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import { CloseCode } from '../protocol/codes.js'
import { type ProtocolVersion, SUBPROTOCOLS } from '../protocol/opcodes.js'
import { type Admitted, type Rejection, admit } from './auth/admission.js'
import { ABNORMAL } from './auth/pending-upgrades.js'
import type { Slot } from './auth/slots.js'
import { isAllowedOrigin } from './config/origins.js'
import type { Connection } from './connection/connection.js'
import { versionRefusal } from './contract/contract-version.js'
import type { Core } from './core.js'
import type { ServerSocket } from './connection/server-socket.js'
import { isThenable } from '../protocol/errors.js'

/** Takes an upgrade; returns false if the upgrade belongs to another handler of the same HTTP server. */
export type UpgradeRouter = (req: IncomingMessage, socket: Duplex, head: Buffer) => boolean

/** The sockets of one http server. */
export interface ServerSockets {
  /** Sockets of upgrades that may be for another route than ours. */
  readonly upgrades: Iterable<Duplex>
  has (socket: Duplex): boolean
}

/** An upgrade that may become a connection. */
export interface Admission extends Admitted {
  slot: Slot
}

/** The steps of every upgrade, routed by Fastify or not: `check`, `admit`, `accept`. */
export class Entrance {
  readonly #core: Core

  constructor (core: Core) {
    this.#core = core
  }

  /**
   * Checks the limits and the origin, before authentication.
   * @param ip the client's address
   * @param host the host that the request was sent to
   * @returns the rejection; undefined if the upgrade may go on
   */
  check (raw: IncomingMessage, ip: string, host: string): Rejection | undefined {
    const core = this.#core
    if (core.isDraining) return this.#refuse(503, 'the server is going away')
    if (!core.slots.take(raw.socket, ip)) return this.#refuse(503, 'too many connections')
    try {
      if (isAllowedOrigin(core.settings.allowedOrigins, raw, host)) return undefined
    } catch (error) {
      core.log.error({ err: error }, 'the function allowedOrigins failed')
      return this.#refuse(500, 'the origin cannot be checked')
    }
    core.repeats.warn({ origin: raw.headers.origin, host }, 'a page of another origin was refused; to allow it, add the origin to the option allowedOrigins')
    return this.#refuse(403, 'origin not allowed')
  }

  /**
   * Authenticates an upgrade, runs the `onConnect` hooks and selects the subprotocol. It neither throws nor rejects.
   * @param request Fastify's request, for the auth handler
   * @returns undefined if the client has gone; a promise only if the auth handler or a hook is asynchronous
   */
  admit (raw: IncomingMessage, request?: unknown): Answer | PromiseLike<Answer> {
    const core = this.#core
    const slot = core.slots.at(raw.socket)
    if (slot === undefined) return undefined
    const subprotocol = bestSubprotocol(raw)
    const protocol: ProtocolVersion = subprotocol === undefined ? 1 : SUBPROTOCOLS[subprotocol]
    slot.upgrade = core.pendingUpgrades.begin()
    const admitted = admit(core, { raw, ip: slot.address, request, protocol, transport: 'websocket', isGone: () => raw.socket.destroyed })
    return isThenable(admitted)
      ? admitted.then((admitted) => this.#answer(raw, subprotocol, slot, admitted))
      : this.#answer(raw, subprotocol, slot, admitted)
  }

  #answer (raw: IncomingMessage, subprotocol: Subprotocol | undefined, slot: Slot, admitted: Admitted | Rejection | undefined): Answer {
    const { socket } = raw
    if (admitted === undefined) return undefined
    if ('error' in admitted) return this.#refuse(admitted.status, admitted.error)
    const { context, expiry } = admitted
    if (socket.destroyed || this.#core.isDraining) {
      this.#core.connectHooks.departed(context, ABNORMAL)
      return socket.destroyed ? undefined : this.#refuse(503, 'the server is going away')
    }
    slot.context = context
    selectSubprotocol(raw, subprotocol)
    return { context, expiry, slot }
  }

  /** Makes a connection of an upgraded socket. The corked response leaves together with the first messages. */
  accept (socket: ServerSocket, raw: IncomingMessage, { context, expiry, slot }: Admission): Connection {
    const core = this.#core
    slot.context = undefined
    slot.upgrade!.end()
    const connection = core.accept(socket, raw.socket, context, expiry)
    const ending = slot.upgrade!.closeReasonOf(context.userId)
    if (ending !== undefined) connection.close(ending.code, ending.reason)
    const mismatch = versionRefusal(core.settings.contract, raw.url!)
    if (mismatch !== undefined) connection.close(CloseCode.CONTRACT_MISMATCH, mismatch)
    core.slots.occupy(raw.socket, connection)
    connection.flush()
    raw.socket.uncork()
    return connection
  }

  #refuse (status: number, error: string): Rejection {
    const { metrics } = this.#core
    metrics.upgradesRefused++
    metrics.refused('upgrade', error)
    return { status, error }
  }
}

type Answer = Admission | Rejection | undefined
type Subprotocol = keyof typeof SUBPROTOCOLS

const NEWEST_FIRST = Object.keys(SUBPROTOCOLS) as Subprotocol[]

/** The newest of our subprotocols that the client offers. */
function bestSubprotocol ({ headers }: IncomingMessage): Subprotocol | undefined {
  const offers = (headers['sec-websocket-protocol'] ?? '').split(',').map((offer) => offer.trim())
  return NEWEST_FIRST.find((subprotocol) => offers.includes(subprotocol))
}

/** Leaves `ws` only our subprotocol to select, never a token, and no extension, so no permessage-deflate. */
function selectSubprotocol ({ headers }: IncomingMessage, subprotocol: Subprotocol | undefined): void {
  if (subprotocol !== undefined) headers['sec-websocket-protocol'] = subprotocol
  else delete headers['sec-websocket-protocol']
  delete headers['sec-websocket-extensions']
}
