import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { promisify } from 'node:util'
import { brotliCompress, constants, gzip } from 'node:zlib'
import type { FastifyInstance } from 'fastify'
import type { Core } from '../lib/server/core.js'
import { packageFile } from '../lib/server/config/package-file.js'

/** The client bundle for script tags, and its Web Worker. */
export const BUNDLES = ['datasole.iife.min.js', 'datasole-worker.iife.min.js'] as const

type Encoding = 'br' | 'gzip' | 'identity'

/** The supported encodings and their encoders. */
const ENCODERS: Record<Encoding, (body: Buffer) => Promise<Buffer>> = {
  br: async (body) => await promisify(brotliCompress)(body, { params: { [constants.BROTLI_PARAM_SIZE_HINT]: body.length } }),
  gzip: async (body) => await promisify(gzip)(body, { level: 9 }),
  identity: async (body) => body
}

/** The URL path of an asset, below the path of the WebSocket. */
export function assetPath (path: string, bundle: string): string {
  return `${path === '/' ? '' : path}/${bundle}`
}

/** Serves the client bundles of this package under the server's path. */
export async function assets (app: FastifyInstance, { settings, log }: Core): Promise<void> {
  for (const bundle of BUNDLES) {
    const body = await read(bundle).catch((error: unknown) => {
      log.warn({ err: error }, `${bundle} cannot be read, so it is not served`)
    })
    if (body === undefined) continue
    serveFile(app, assetPath(settings.path, bundle), body, 'text/javascript; charset=utf-8', {
      'cache-control': 'public, no-cache',
      // allow pages of other origins and cross-origin isolated pages to load it
      'access-control-allow-origin': '*',
      'cross-origin-resource-policy': 'cross-origin',
      'cross-origin-embedder-policy': 'require-corp'
    })
  }
}

/**
 * Serves bytes with an ETag (RFC 9110 section 8.8.3), in the best encoding that the client accepts. Each encoding is
 * computed once, at its first request.
 */
export function serveFile (app: FastifyInstance, url: string, body: Buffer, type: string, headers: Record<string, string>): void {
  const hash = createHash('sha256').update(body).digest('base64url').slice(0, 27)
  const encoded = new Map<Encoding, Promise<Buffer>>()
  app.get(url, { exposeHeadRoute: true }, async (request, reply) => {
    const encoding = encodingFor(request.headers['accept-encoding'])
    // each representation needs its own ETag (RFC 9110 section 8.8.3.3)
    const etag = encoding === 'identity' ? `"${hash}"` : `"${hash}-${encoding}"`
    reply.headers({ etag, vary: 'accept-encoding', ...headers })
    const known = request.headers['if-none-match']
    if (known !== undefined && (known.trim() === '*' || known.split(',').some((tag) => tag.trim().replace(/^W\//, '') === etag))) {
      return await reply.code(304).send()
    }
    let content = encoded.get(encoding)
    if (content === undefined) encoded.set(encoding, content = ENCODERS[encoding](body))
    const bytes = await content
    if (encoding !== 'identity') reply.header('content-encoding', encoding)
    return await reply.type(type).header('content-length', bytes.length).send(bytes)
  })
}

/** The best supported encoding for an Accept-Encoding header (RFC 9110 section 12.5.3); `identity` if no other is accepted. */
export function encodingFor (accepted = ''): Encoding {
  const weights = new Map(accepted.toLowerCase().split(',').map((part) => {
    const [coding = '', ...parameters] = part.split(';').map((text) => text.trim())
    const q = parameters.find((text) => text.startsWith('q='))
    return [coding === 'x-gzip' ? 'gzip' : coding, q === undefined ? 1 : Number(q.slice(2)) || 0] as const
  }))
  const weightOf = (encoding: Encoding): number => weights.get(encoding) ?? (encoding === 'identity' ? 0 : weights.get('*') ?? 0)
  let best: Encoding = 'identity'
  for (const encoding of ['gzip', 'br'] as const) {
    if (weightOf(encoding) > 0 && weightOf(encoding) >= weightOf(best)) best = encoding
  }
  return best
}

async function read (bundle: string): Promise<Buffer> {
  return await readFile(packageFile(`client/${bundle}`))
}
