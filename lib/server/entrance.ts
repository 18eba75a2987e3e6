import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import { CloseCode } from '../protocol/codes.js'
import { type ProtocolVersion, SUBPROTOCOLS } from '../protocol/opcodes.js'
import { type Rejection, admit } from './auth/admission.js'
import { ABNORMAL, type PendingUpgrade } from './auth/pending-upgrades.js'
import type { AuthExpiry } from './auth/token-refresh.js'
import { isAllowedOrigin } from './config/origins.js'
import type { Connection } from './connection/connection.js'
import type { ConnectionContext } from './context/connection-context.js'
import { versionRefusal } from './contract/contract-version.js'
import type { Core } from './core.js'
import type { ServerSocket } from './connection/server-socket.js'
import { Slots } from './connection/slots.js'

/** Takes an upgrade; returns false if the upgrade belongs to another handler of the same HTTP server. */
export type UpgradeRouter = (req: IncomingMessage, socket: Duplex, head: Buffer) => boolean

/** An upgrade that may become a connection. */
export interface Admission {
  context: ConnectionContext
  expiry: AuthExpiry | undefined
  arrival: PendingUpgrade
  /** Call it when the upgrade becomes a connection. It removes the listeners that handle an early close. */
  settled: () => void
}

/** The steps of every upgrade, routed by Fastify or not: `check`, `admit`, `accept`. */
export class Entrance {
  readonly slots: Slots
  readonly #core: Core

  constructor (core: Core) {
    this.#core = core
    this.slots = new Slots(core.settings.maxConnections, core.settings.maxConnectionsPerAddress)
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
    if (!this.slots.take(raw.socket, ip)) return this.#refuse(503, 'too many connections')
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
   * Authenticates an upgrade, runs the `onConnect` hooks and selects the subprotocol. It does not throw.
   * @param request Fastify's request, for the auth handler
   * @returns undefined if the client has gone
   */
  async admit (raw: IncomingMessage, ip: string, request?: unknown): Promise<Admission | Rejection | undefined> {
    const core = this.#core
    const { socket } = raw
    const subprotocol = bestSubprotocol(raw)
    const protocol: ProtocolVersion = subprotocol === undefined ? 1 : SUBPROTOCOLS[subprotocol]
    const arrival = core.pendingUpgrades.begin()
    // a refusal closes the socket, too; a destroyed socket emits no further `close`
    if (socket.destroyed) arrival.end()
    else socket.once('close', arrival.end)
    const admitted = await admit(core, { raw, ip, request, protocol, transport: 'websocket', isGone: () => socket.destroyed })
    if (admitted === undefined) return undefined
    if ('error' in admitted) return this.#refuse(admitted.status, admitted.error)
    const { context, expiry } = admitted
    // the hooks admitted this client, so `onDisconnect` runs even if it goes before it is a connection
    const gone = (): void => { core.connectHooks.departed(context, ABNORMAL) }
    if (socket.destroyed || core.isDraining) {
      gone()
      return socket.destroyed ? undefined : this.#refuse(503, 'the server is going away')
    }
    socket.once('close', gone)
    selectSubprotocol(raw, subprotocol)
    const settled = (): void => {
      socket.off('close', gone)
      socket.off('close', arrival.end)
      arrival.end()
    }
    return { context, expiry, arrival, settled }
  }

  /** Makes a connection of an upgraded socket. The corked response leaves together with the first messages. */
  accept (socket: ServerSocket, raw: IncomingMessage, { context, expiry, arrival, settled }: Admission): Connection {
    const core = this.#core
    settled()
    const connection = core.accept(socket, raw.socket, context, expiry)
    const ending = arrival.closeReasonOf(context.userId)
    if (ending !== undefined) connection.close(ending.code, ending.reason)
    const mismatch = versionRefusal(core.settings.contract, raw.url!)
    if (mismatch !== undefined) connection.close(CloseCode.CONTRACT_MISMATCH, mismatch)
    this.slots.occupy(raw.socket, connection)
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

/** The newest of our subprotocols that the client offers. */
function bestSubprotocol ({ headers }: IncomingMessage): keyof typeof SUBPROTOCOLS | undefined {
  const offers = (headers['sec-websocket-protocol'] ?? '').split(',').map((offer) => offer.trim())
  return (Object.keys(SUBPROTOCOLS) as Array<keyof typeof SUBPROTOCOLS>).find((subprotocol) => offers.includes(subprotocol))
}

/** Leaves `ws` only our subprotocol to select, never a token, and no extension, so no permessage-deflate. */
function selectSubprotocol ({ headers }: IncomingMessage, subprotocol: string | undefined): void {
  if (subprotocol !== undefined) headers['sec-websocket-protocol'] = subprotocol
  else delete headers['sec-websocket-protocol']
  delete headers['sec-websocket-extensions']
}
