import type { IncomingMessage } from 'node:http'
import type { Settings } from '../config/settings.js'
import type { ConnectionContext, Identity } from '../context/connection-context.js'
import type { Logger } from '../context/logger.js'
import { authenticate } from './authenticate.js'
import { type ConnectHooks, NotAdmitted } from './connect-hooks.js'
import { AuthExpiry } from './token-refresh.js'

/** The parts of the server that `admit` needs. */
export interface Door {
  readonly settings: Settings
  readonly log: Logger
  readonly connectHooks: Pick<ConnectHooks, 'admit'>
}

/** A request for a connection. */
export interface Applicant extends Pick<Identity, 'protocol' | 'transport'> {
  raw: IncomingMessage
  /** The client's address, as the HTTP layer saw it. */
  ip: string
  /** Fastify's request, for the auth handler. */
  request: unknown
  /** Whether the client has gone. Then the hooks do not run. */
  isGone: () => boolean
}

/** The answer to a refused request. */
export interface Rejection { status: number, error: string }

export interface Admitted {
  context: ConnectionContext
  /** The expiry of the authentication; undefined if it has none. */
  expiry: AuthExpiry | undefined
}

/**
 * Authenticates an upgrade or an HTTP request, then runs the `onConnect` hooks. It does not throw.
 * @returns undefined if the client went before the hooks ran
 */
export async function admit ({ settings, log, connectHooks }: Door, { raw, ip, request, protocol, transport, isGone }: Applicant): Promise<Admitted | Rejection | undefined> {
  let auth
  try {
    auth = await authenticate(settings, raw, ip, request)
  } catch (error) {
    log.error({ err: error }, 'the authHandler failed')
    return { status: 500, error: 'authentication failed' }
  }
  if (!auth.authenticated) return { status: 401, error: 'not authenticated' }
  if (isGone()) return undefined
  const expiry = AuthExpiry.of(auth, raw)
  try {
    return { context: await connectHooks.admit({ auth, remoteAddress: ip, protocol, transport }), expiry }
  } catch (error) {
    if (error instanceof NotAdmitted) return error.isFinal ? { status: 403, error: 'connection refused' } : { status: 503, error: 'connection failed' }
    log.error({ err: error }, 'an onConnect hook hangs')
    return { status: 500, error: 'connection failed' }
  }
}
