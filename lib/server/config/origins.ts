import type { IncomingMessage } from 'node:http'
import { isThenable, notSynchronous } from '../../protocol/errors.js'
import type { DatasoleServerOptions } from './server-options.js'

/**
 * Whether a page of this origin may connect (RFC 6454). Clients other than browsers send no Origin, and may connect.
 * @param ownHost the host that the request was sent to, from its Host header or from a trusted proxy
 * @throws whatever the option's function throws; TypeError if it returns a promise
 */
export function isAllowedOrigin (allowed: DatasoleServerOptions['allowedOrigins'], req: IncomingMessage, ownHost: string): boolean {
  const { origin } = req.headers
  if (origin === undefined) return true
  if (typeof allowed === 'function') {
    const answer: unknown = allowed(origin, req)
    // a promise is truthy, and must not count as permission
    if (isThenable(answer)) throw notSynchronous('allowedOrigins', 'true or false', answer)
    return answer === true
  }
  if (allowed !== undefined) return allowed.includes(normalOrigin(origin) ?? origin)
  if (!URL.canParse(origin)) return false
  const url = new URL(origin)
  const host = `${url.protocol}//${ownHost}`
  if (!URL.canParse(host)) return false
  const own = new URL(host)
  return url.host === own.host || (isLoopback(url.hostname) && isLoopback(own.hostname))
}

/**
 * An origin in the form in which it is compared, `'null'` included; undefined if it is not an origin. URL only knows
 * the origins of web schemes. For others, such as `capacitor:`, the scheme and host are compared.
 */
export function normalOrigin (origin: string): string | undefined {
  if (origin === 'null') return origin
  if (!URL.canParse(origin)) return undefined
  const { origin: known, protocol, host } = new URL(origin)
  return known !== 'null' ? known : origin.includes('://') ? `${protocol}//${host}` : undefined
}

/** Names of this machine. A page of a development server on another port may connect. */
function isLoopback (hostname: string): boolean {
  return hostname === 'localhost' || hostname.endsWith('.localhost') || hostname === '[::1]' || /^127(\.\d+){3}$/.test(hostname)
}
