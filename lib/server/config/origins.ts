import type { IncomingMessage } from 'node:http'
import { isThenable, notSynchronous } from '../../protocol/errors.js'
import type { DatasoleServerOptions } from './server-options.js'

/**
 * Whether a browser's page of this origin may connect (RFC 6454; what is no browser sends none, and passes).
 * @param ownHost where the request was sent to: what its Host says, or a proxy that is trusted
 * @throws whatever a function of the user's throws; TypeError where it gives a promise
 */
export function isAllowedOrigin (allowed: DatasoleServerOptions['allowedOrigins'], req: IncomingMessage, ownHost: string): boolean {
  const { origin } = req.headers
  if (origin === undefined) return true
  if (typeof allowed === 'function') {
    const answer: unknown = allowed(origin, req)
    // a promise of anything is no permission
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
 * An origin as it is compared, `'null'` included; undefined for what is none. URL knows those of the web
 * only: of a scheme such as `capacitor:` scheme and host count.
 */
export function normalOrigin (origin: string): string | undefined {
  if (origin === 'null') return origin
  if (!URL.canParse(origin)) return undefined
  const { origin: known, protocol, host } = new URL(origin)
  return known !== 'null' ? known : origin.includes('://') ? `${protocol}//${host}` : undefined
}

/** Names of this machine: a page of a development server on another port may connect. */
function isLoopback (hostname: string): boolean {
  return hostname === 'localhost' || hostname.endsWith('.localhost') || hostname === '[::1]' || /^127(\.\d+){3}$/.test(hostname)
}
