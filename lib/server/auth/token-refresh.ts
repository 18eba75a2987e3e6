import { IncomingMessage } from 'node:http'
import { CloseCode } from '../../protocol/codes.js'
import type { AuthRefresh } from '../../protocol/messages.js'
import { Opcode } from '../../protocol/opcodes.js'
import { type UpgradeRequest, authenticate, withoutToken } from './authenticate.js'
import type { AuthResult } from '../context/connection-context.js'
import type { Connection } from '../connection/connection.js'
import { type Deadline, Deadlines } from './deadlines.js'
import { encodeMessage } from '../connection/encoding.js'
import type { FrameHandler } from '../connection/frame-handler.js'
import { BadFrame, parsePayload, requireString } from '../connection/payload.js'
import type { Part } from '../lifecycle/part.js'
import type { Logger } from '../context/logger.js'
import type { Settings } from '../config/settings.js'

/** ms before the expiry at which the server asks for a new token, if the lifetime is at least twice that. */
const NOTICE = 60_000

/** Tokens that a client may send each time the server has asked for one. */
const ATTEMPTS = 3

/** Characters of a token. Node.js accepts as much in the headers of an upgrade. */
const MAX_TOKEN = 16 * 1024

/** The expiry of an authentication, on the monotonic clock: a jump of the wall clock neither prolongs nor ends it. */
export class AuthExpiry implements Deadline {
  due = 0
  place = -1
  connection: Connection | undefined
  /** Tokens that the client may still send; 0 until the server has asked for one. */
  attempts = 0
  isChecking = false

  private constructor (readonly until: number, readonly notice: number, /** Of the upgrade, without its token. */ readonly request: UpgradeRequest) {}

  /** Undefined if the authentication does not expire. Call it at once, because it reads both clocks now. */
  static of ({ expiresAt = Infinity }: AuthResult, request: UpgradeRequest): AuthExpiry | undefined {
    if (expiresAt === Infinity) return undefined
    const lifetime = expiresAt - Date.now()
    return new AuthExpiry(performance.now() + lifetime, Math.min(NOTICE, lifetime / 2), withoutToken(request))
  }
}

/**
 * Asks clients for a new token before their authentication expires. Closes clients that send none with 4401. All
 * expiries share one timer.
 */
export class TokenRefresh implements Part {
  readonly #settings: Settings
  readonly #log: Logger
  readonly #expiries = new Map<Connection, AuthExpiry>()
  readonly #deadlines = new Deadlines<AuthExpiry>((lease) => { this.#reached(lease, lease.connection!) })

  constructor (settings: Settings, log: Logger) {
    this.#settings = settings
    this.#log = log
  }

  readonly frames: { readonly [Opcode.AUTH]: FrameHandler<string> } = {
    [Opcode.AUTH]: {
      isUrgent: true,
      read: (frame) => {
        const token = requireString(parsePayload(frame, this.#settings.maxJsonDepth).token, 'token')
        if (token.length > MAX_TOKEN) throw new BadFrame(`a token has at most ${MAX_TOKEN} characters`)
        return token
      },
      handle: (connection, correlationId, token) => { this.#receive(connection, correlationId, token) }
    }
  }

  grant (connection: Connection, lease: AuthExpiry | undefined): void {
    if (lease === undefined) return
    this.#expiries.set(connection, lease)
    lease.connection = connection
    lease.due = connection.protocol === 1 ? lease.until : lease.until - lease.notice
    this.#deadlines.add(lease)
  }

  disconnected (connection: Connection): void {
    this.#end(connection)
  }

  #end (connection: Connection): void {
    const lease = this.#expiries.get(connection)
    if (lease === undefined) return
    this.#deadlines.delete(lease)
    this.#expiries.delete(connection)
  }

  stop (): void {
    this.#deadlines.clear()
    this.#expiries.clear()
  }

  #reached (lease: AuthExpiry, connection: Connection): void {
    const left = Math.floor(lease.until - performance.now())
    if (left <= 0) return connection.close(CloseCode.AUTH_EXPIRED, 'authentication expired')
    lease.attempts = ATTEMPTS
    lease.due = lease.until
    this.#deadlines.add(lease)
    this.#tell(connection, 0, left)
  }

  #tell (connection: Connection, correlationId: number, expiresIn: number | undefined): void {
    const message: AuthRefresh = { expiresIn }
    connection.send(encodeMessage(Opcode.AUTH_REFRESH, correlationId, JSON.stringify(message), Infinity))
  }

  /** Handles a token from a client. It does not throw. */
  #receive (connection: Connection, correlationId: number, token: string): void {
    const lease = this.#expiries.get(connection)
    if (lease === undefined || lease.attempts === 0 || lease.isChecking) return connection.refuseFrame(correlationId, 'the server did not ask for a token')
    lease.attempts--
    lease.isChecking = true
    this.#check(connection, lease, correlationId, token).catch((error: unknown) => {
      this.#log.error({ err: error, connectionId: connection.id }, 'the authHandler failed')
      connection.sendError(correlationId, 'INTERNAL', 'authentication failed')
    }).finally(() => { lease.isChecking = false })
  }

  async #check (connection: Connection, lease: AuthExpiry, correlationId: number, token: string): Promise<void> {
    const { context } = connection
    const auth = await authenticate(this.#settings, renewal(lease.request, token))
    if (!connection.isOpen) return
    if (!auth.authenticated) return connection.sendError(correlationId, 'UNAUTHENTICATED', 'not authenticated')
    if (auth.userId !== context.userId) return connection.close(CloseCode.AUTH_EXPIRED, 'the token belongs to another user')
    const next = AuthExpiry.of(auth, lease.request)
    // otherwise a client could send the same token again and again, each time for half of the time left
    if (next !== undefined && next.until - lease.until < lease.notice / 4) return connection.sendError(correlationId, 'UNAUTHENTICATED', 'the token expires too soon: send one that is valid for longer')
    context.renew(auth)
    this.#end(connection)
    this.grant(connection, next)
    this.#tell(connection, correlationId, next && Math.floor(next.until - performance.now()))
  }
}

/** The request of the upgrade, with this token in place of the original one. */
function renewal ({ url, headers, socket }: UpgradeRequest, token: string): IncomingMessage {
  const message = new IncomingMessage(socket)
  message.method = 'GET'
  message.httpVersion = '1.1'
  message.url = url
  message.headers = { ...headers, ...token !== '' && { authorization: `Bearer ${token}` } }
  return message
}
