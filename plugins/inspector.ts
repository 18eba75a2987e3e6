import { readFile } from 'node:fs/promises'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { MemoryBackend } from '../lib/backend/memory/memory.js'
import { Inspector } from '../lib/inspector/inspector.js'
import { checkFunction, integer, invalid } from '../lib/server/config/checks.js'
import { packageFile } from '../lib/server/config/package-file.js'
import type { Core } from '../lib/server/core.js'
import { createCore } from '../lib/server/datasole.js'
import { serveFile } from './assets.js'
import { connections } from './connections.js'
import { Entrance } from '../lib/server/entrance.js'
import { define } from './define.js'

/** Options of the plugin `datasole/inspector`. */
export interface InspectorOptions {
  /** Path of the page, after the prefix of the scope. Default `/inspector`. */
  prefix?: string
  /**
   * Whether viewers may disconnect clients, and edit and delete values: a boolean, or a function that gets the request of
   * the page's WebSocket. Default false.
   */
  allowActions?: boolean | ((request: FastifyRequest) => boolean | Promise<boolean>)
  /** Origins whose pages may connect. Default: only pages of the host in the request. */
  allowedOrigins?: string[]
  /** Maximum number of concurrent viewers. Others get HTTP 503. Default 20. */
  maxViewers?: number
}

const NAME = 'datasole/inspector'

/** A valid path prefix of routes and of a WebSocket. */
const PATH = /^(\/[\w\-.~@!$&'(),;=+]+)+$/

const OPTIONS = ['prefix', 'allowActions', 'allowedOrigins', 'maxViewers']

/** The files of the page, by their path below the prefix. */
const FILES = {
  '/': ['index.html', 'text/html; charset=utf-8'],
  '/page.js': ['page.js', 'text/javascript; charset=utf-8'],
  '/style.css': ['style.css', 'text/css; charset=utf-8']
} as const

/** Allows only the page's own files, and forbids scripts to turn text into markup. */
const HEADERS = {
  'cache-control': 'private, no-cache',
  'content-security-policy': "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY'
}

/**
 * Serves a page at `{prefix}/` that shows all nodes of the server live. The page and its WebSocket belong to the scope,
 * with the scope's hooks. The page shows values, which may contain secrets.
 * @throws DatasoleError `DUPLICATE_REGISTRATION`, `INVALID_OPTION`, `PACKAGE_FILE_MISSING`
 */
export default define<InspectorOptions>(NAME, async ({ app, core }, options) => {
  const { prefix = '/inspector', allowActions = false, allowedOrigins, maxViewers = 20 } = checked(options)
  const path = `${prefix}/live`
  const inner = createCore({
    path,
    stateBackend: new MemoryBackend(),
    rateLimit: false,
    maxConnections: maxViewers,
    maxSubscriptions: 16,
    maxCallsInFlight: 16,
    ...allowedOrigins !== undefined && { allowedOrigins },
    authHandler: async (_req, request) => ({ authenticated: true, metadata: { mayAct: typeof allowActions === 'function' ? await allowActions(request as unknown as FastifyRequest) === true : allowActions } })
  }, core.log.child({ plugin: NAME }))
  const inspector = new Inspector(core, inner)
  await inner.connect()
  app.addHook('onReady', () => inspector.start())
  app.addHook('preClose', async () => {
    inspector.stop()
    await inner.drain()
  })
  app.addHook('onClose', () => inner.stop())
  connections(app, inner, new Entrance(inner))
  core.socketRoutes.add(app.prefix + path)
  core.routes.add(app.prefix + path)
  await app.register(async (pages) => { await servePage(pages, core, prefix) })
})

async function servePage (app: FastifyInstance, core: Core, prefix: string): Promise<void> {
  // relative, because a proxy may remove a part of the path
  const redirect = async (_request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> => await reply.code(302).header('location', `${prefix.slice(prefix.lastIndexOf('/') + 1)}/`).send()
  const { ignoreTrailingSlash, routerOptions } = app.initialConfig
  if (routerOptions?.ignoreTrailingSlash ?? ignoreTrailingSlash ?? false) {
    // for such a router both paths are one route
    app.addHook('onRequest', async (request, reply) => {
      if (request.routeOptions.url === `${app.prefix}${prefix}/` && !request.url.split('?', 1)[0]!.endsWith('/')) return await redirect(request, reply)
    })
  } else {
    app.get(prefix, { exposeHeadRoute: true }, redirect)
  }
  for (const [url, [file, type]] of Object.entries(FILES)) {
    serveFile(app, prefix + url, await readFile(packageFile(`inspector/${file}`)), type, HEADERS)
    core.routes.add(app.prefix + prefix + url)
  }
  core.routes.add(app.prefix + prefix)
}

/** @throws DatasoleError `INVALID_OPTION`; the message names the option */
function checked (options: InspectorOptions): InspectorOptions {
  const { prefix, allowActions, allowedOrigins, maxViewers } = options
  for (const name of Object.keys(options)) if (!OPTIONS.includes(name)) throw invalid(name, `is not an option of ${NAME}`)
  if (prefix !== undefined && (typeof prefix !== 'string' || !PATH.test(prefix))) throw invalid('prefix', `of ${NAME} must be a path such as "/inspector", not ${JSON.stringify(prefix)}`)
  if (allowActions !== undefined && typeof allowActions !== 'boolean') checkFunction('allowActions', allowActions)
  if (allowedOrigins !== undefined && !Array.isArray(allowedOrigins)) throw invalid('allowedOrigins', `of ${NAME} must be a list of origins`)
  if (maxViewers !== undefined) integer('maxViewers', maxViewers, 1, 1000)
  return options
}
