import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import type { FastifyInstance } from 'fastify'
import type { Core } from '../lib/server/core.js'
import { packageFile } from '../lib/server/package-file.js'

/** The client for pages that load it by a script tag, and the part of it that runs in a Web Worker. */
export const BUNDLES = ['datasole.iife.min.js', 'datasole-worker.iife.min.js'] as const

/** Where an asset stands: beside the WebSocket, whatever the path. */
export function assetPath (path: string, bundle: string): string {
  return `${path === '/' ? '' : path}/${bundle}`
}

/** Serves the client bundles of this package under the server's path, with a validator (RFC 9110 section 8.8.3). */
export async function assets (app: FastifyInstance, { settings, log }: Core): Promise<void> {
  for (const bundle of BUNDLES) {
    const body = await read(bundle).catch((error: unknown) => {
      log.warn({ err: error }, `${bundle} cannot be read, so it is not served`)
    })
    if (body === undefined) continue
    const etag = `"${createHash('sha256').update(body).digest('base64url').slice(0, 27)}"`
    app.get(assetPath(settings.path, bundle), { exposeHeadRoute: true }, (request, reply) => {
      reply.headers({
        etag,
        'cache-control': 'public, no-cache',
        // pages of other origins may load it, and those that are cross-origin isolated
        'access-control-allow-origin': '*',
        'cross-origin-resource-policy': 'cross-origin',
        'cross-origin-embedder-policy': 'require-corp'
      })
      const known = request.headers['if-none-match']
      if (known !== undefined && (known.trim() === '*' || known.split(',').some((tag) => tag.trim().replace(/^W\//, '') === etag))) {
        return reply.code(304).send()
      }
      return reply.type('text/javascript; charset=utf-8').header('content-length', body.length).send(body)
    })
  }
}

async function read (bundle: string): Promise<Buffer> {
  return await readFile(packageFile(`client/${bundle}`))
}
