import type { IncomingMessage } from 'node:http'
import type { Settings } from '../config/settings.js'
import type { AuthResult, ConnectionContext, Identity } from '../context/connection-context.js'
import { isThenable } from '../../protocol/errors.js'
import type { Logger } from '../context/logger.js'
import { authenticate } from './authenticate.js'
import { type ConnectHooks, NotAdmitted } from './connect-hooks.js'
import { AuthExpiry } from './token-refresh.js'

/** The parts of the server that `admit` needs. */
export interface AdmissionHost {
  readonly settings: Settings
  readonly log: Logger
  readonly connectHooks: Pick<ConnectHooks, 'admit'>
}

/** A request for a connection. */
export interface AdmissionRequest extends Pick<Identity, 'protocol' | 'transport'> {
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
 * Authenticates an upgrade or an HTTP request, then runs the `onConnect` hooks. It neither throws nor rejects.
 * @returns undefined if the client went before the hooks ran; a promise only if the auth handler or a hook is asynchronous
 */
export function admit (host: AdmissionHost, request: AdmissionRequest): Answer | PromiseLike<Answer> {
  const { settings, log } = host
  // without an auth handler there is nothing to wait for
  if (settings.authHandler === undefined) return runConnectHooks(host, request)
  return authenticate(settings, request.raw, request.request).then(
    (auth) => runConnectHooks(host, request, auth),
    (error: unknown) => {
      log.error({ err: error }, 'the authHandler failed')
      return { status: 500, error: 'authentication failed' }
    }
  )
}

type Answer = Admitted | Rejection | undefined

function runConnectHooks (host: AdmissionHost, { raw, ip, protocol, transport, isGone }: AdmissionRequest, auth?: AuthResult): Answer | PromiseLike<Answer> {
  if (auth?.authenticated === false) return { status: 401, error: 'not authenticated' }
  if (isGone()) return undefined
  const expiry = auth && AuthExpiry.of(auth, raw)
  try {
    const admitted = host.connectHooks.admit({ auth, remoteAddress: ip, protocol, transport })
    return isThenable(admitted)
      ? admitted.then((context) => ({ context, expiry }), (error: unknown) => refusal(host, error))
      : { context: admitted, expiry }
  } catch (error) {
    return refusal(host, error)
  }
}

function refusal ({ log }: AdmissionHost, error: unknown): Rejection {
  if (error instanceof NotAdmitted) return error.isFinal ? { status: 403, error: 'connection refused' } : { status: 503, error: 'connection failed' }
  log.error({ err: error }, 'an onConnect hook did not answer')
  return { status: 500, error: 'connection failed' }
}
