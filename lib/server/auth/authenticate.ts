import type { IncomingMessage } from 'node:http'
import { TOKEN_SUBPROTOCOL } from '../../protocol/opcodes.js'
import type { AuthResult } from '../context/connection-context.js'
import { DatasoleError } from '../../protocol/errors.js'
import type { Settings } from '../config/settings.js'
import { within } from '../lifecycle/until.js'

/**
 * Reads the token that a client sent: from `Authorization: Bearer`, else from the subprotocol
 * `datasole.token.<base64url>`, else from `?token=`, else from a cookie.
 *
 * When an auth handler runs, `req.headers.authorization` has the token as `Bearer …`, unless it came in a cookie.
 * Browsers send cookies with every upgrade, whichever page makes it. `allowedOrigins` keeps other sites out.
 * @param req the request of the upgrade
 * @param options.cookie the name of the cookie. Default: no cookie is read
 * @returns the token; undefined if there is none
 */
export function getToken (req: Pick<IncomingMessage, 'headers' | 'url'>, { cookie }: { cookie?: string } = {}): string | undefined {
  const bearer = /^Bearer +(.+)$/i.exec(req.headers.authorization ?? '')
  if (bearer !== null) return bearer[1]!.trim()
  for (const name of (req.headers['sec-websocket-protocol'] ?? '').split(',')) {
    const offer = name.trim()
    if (offer.startsWith(TOKEN_SUBPROTOCOL)) return Buffer.from(offer.slice(TOKEN_SUBPROTOCOL.length), 'base64url').toString() || undefined
  }
  const url = req.url ?? ''
  const query = url.indexOf('?')
  const parameter = query < 0 ? null : new URLSearchParams(url.slice(query + 1)).get('token')
  if (parameter !== null && parameter !== '') return parameter
  return cookie === undefined ? undefined : cookieOf(req.headers.cookie ?? '', cookie)
}

/** The value of the first cookie with this name (RFC 6265 section 5.4), unquoted, and percent-decoded if possible. */
function cookieOf (header: string, name: string): string | undefined {
  const pair = header.split(';').map((text) => text.trim()).find((text) => text.startsWith(`${name}=`))
  const value = pair?.slice(name.length + 1).replace(/^"(.*)"$/, '$1')
  if (value === undefined || value === '') return undefined
  try {
    return decodeURIComponent(value)
  } catch {
    return value // a percent sign that encodes nothing
  }
}

/** The part of an upgrade's request that is kept, to check later tokens. */
export type UpgradeRequest = Pick<IncomingMessage, 'url' | 'headers' | 'socket'>

/** A copy of the request without its token. Cookies stay. */
export function withoutToken ({ url = '', headers: { authorization, ...headers }, socket }: UpgradeRequest): UpgradeRequest {
  const offers = headers['sec-websocket-protocol']?.split(',').filter((offer) => !offer.trim().startsWith(TOKEN_SUBPROTOCOL))
  if (offers !== undefined) headers['sec-websocket-protocol'] = offers.join(',')
  const bare = url.replace(PARAMETERS, (parameter: string, separator: string, name: string) => isToken(name) ? separator : parameter)
  return { url: bare, headers, socket }
}

/** A URL for logs, without the value of its `token` parameter, even if that name is percent-encoded. */
export function redactUrl (url: string): string {
  return url.replace(PARAMETERS, (parameter: string, separator: string, name: string) => isToken(name) ? `${separator}token=[redacted]` : parameter)
}

const PARAMETERS = /([?&])([^?&=#]*)=[^&#]*/g

function isToken (name: string): boolean {
  const [decoded = ''] = new URLSearchParams(name).keys()
  return decoded.toLowerCase() === 'token'
}

const YEAR_1973 = 1e11

/**
 * Runs the auth handler, which must be set, within `authTimeoutMs`.
 * @param request Fastify's request, at the upgrade only
 * @returns the handler's result; `authenticated: false` if it has already expired
 * @throws DatasoleError `AUTH_TIMEOUT`, `INVALID_AUTH_RESULT`, or as the handler does
 */
export async function authenticate ({ authHandler, authTimeoutMs }: Settings, req: IncomingMessage, request?: unknown): Promise<AuthResult> {
  const token = getToken(req)
  if (token !== undefined) req.headers.authorization ??= `Bearer ${token}`
  const result = await within(authTimeoutMs, authHandler!(req, request as never), () => new DatasoleError('AUTH_TIMEOUT', `the authHandler did not answer within authTimeoutMs (${authTimeoutMs})`))
  if (!isAuthResult(result)) throw new DatasoleError('INVALID_AUTH_RESULT', 'the authHandler must resolve to { authenticated: boolean, userId?: string, roles?: string[], metadata?: object, expiresAt?: number (Unix time in ms, not s) }')
  return (result.expiresAt ?? Infinity) > Date.now() ? result : { authenticated: false }
}

function isAuthResult (result: unknown): result is AuthResult {
  const { authenticated, userId, roles, metadata, expiresAt } = (result ?? {}) as Partial<AuthResult>
  if (typeof authenticated !== 'boolean') return false
  if (!authenticated) return true
  return (userId === undefined || typeof userId === 'string') &&
    (roles === undefined || Array.isArray(roles)) &&
    (metadata === undefined || (typeof metadata === 'object' && metadata !== null)) &&
    // a JWT's `exp` in seconds, taken as ms, would be in 1970
    (expiresAt === undefined || (typeof expiresAt === 'number' && expiresAt > YEAR_1973))
}
