import { DatasoleError } from '../protocol/errors.js'

export interface Addresses {
  /** URL of the socket, ws: or wss:. */
  socket: string
  /** Default URL of the Web Worker's script, below the same path. */
  worker: string
}

/**
 * Resolves the addresses of the server: `path` below the path of `url`, with the query of `url`.
 * @param url absolute, or relative to the page's origin; default the page's origin
 * @param path appended unless `url` already ends with it
 * @throws DatasoleError `INVALID_OPTION`
 */
export function addressesOf (url: string | undefined, path: string): Addresses {
  const server = parse(url)
  const base = server.pathname.replace(/\/+$/, '')
  const end = path.replace(/\/+$/, '')
  const below = base.endsWith(end) ? base : base + end
  server.pathname = below + path.slice(end.length)
  const socket = server.href.replace(/^http/, 'ws')
  server.pathname = `${below}/datasole-worker.iife.min.js`
  // the script is public and its requests are logged, so remove a token from its URL
  for (const name of [...server.searchParams.keys()]) if (name.toLowerCase() === 'token') server.searchParams.delete(name)
  return { socket, worker: server.href.replace(/^ws/, 'http') }
}

function parse (url: string | undefined): URL {
  const origin = (globalThis as { location?: { origin?: string } }).location?.origin
  const base = url ?? origin
  if (base === undefined || base === 'null') throw invalid('is needed outside of a page, e.g. "http://localhost:3000"')
  if (typeof base !== 'string' || !URL.canParse(base, origin === 'null' ? undefined : origin)) throw invalid('must be a URL such as "https://example.com"')
  const parsed = new URL(base, origin === 'null' ? undefined : origin)
  if (!['http:', 'https:', 'ws:', 'wss:'].includes(parsed.protocol)) throw invalid('must start with http:, https:, ws: or wss:')
  if (parsed.hash !== '') throw invalid('must have no fragment (#…)')
  return parsed
}

function invalid (why: string): DatasoleError {
  return new DatasoleError('INVALID_OPTION', `datasole client: option url ${why}`)
}
