import { cp, readFile } from 'node:fs/promises'
import type { Server } from 'node:http'
import { extname, join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { type Browser, type BrowserContextOptions, type Page, chromium } from 'playwright-core'
import { type Alias, type PluginOption, build } from 'vite'
import type { Consumer } from '../package/consumer.js'

export interface ViteAppOptions {
  /** Folder of the app's source, from the repository's root. It has an `index.html`. */
  source: string
  /** Name of the build. The app is served below `/NAME/`. */
  name: string
  alias?: Alias[]
  plugins?: PluginOption[]
  /** A module of the source that renders on a server. It is built with everything that it imports. */
  server?: string
}

/** An app that Vite has built, as its users would, from the packed package. */
export interface ViteApp {
  name: string
  /** Its files are served. */
  folder: string
  /** The module that renders on a server. */
  server: string | undefined
}

const TYPES: Record<string, string> = { '.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml' }

/** Frameworks check more in development: React mounts twice in StrictMode, and hydration tells differences. */
const define = { 'process.env.NODE_ENV': '"development"' }

/** Builds an app in the folder of a consumer, so that it imports the packed tarball. */
export async function viteApp ({ folder }: Consumer, { source, name, alias = [], plugins = [], server }: ViteAppOptions): Promise<ViteApp> {
  const root = join(folder, name)
  await cp(resolve(source), root, { recursive: true })
  const common = { root, base: `/${name}/`, configFile: false as const, logLevel: 'warn' as const, define, resolve: { alias }, plugins }
  await build({ ...common, build: { outDir: 'dist', minify: false, reportCompressedSize: false } })
  if (server !== undefined) await build({ ...common, ssr: { noExternal: true }, build: { outDir: 'dist-server', ssr: server, minify: false, reportCompressedSize: false, rollupOptions: { output: { entryFileNames: 'server.js' } } } })
  return { name, folder: join(root, 'dist'), server: server === undefined ? undefined : pathToFileURL(join(root, 'dist-server', 'server.js')).href }
}

/**
 * Serves apps below their names on a server that others use as well.
 * @param render makes the page of a path below the app, from its `index.html`; undefined for a file
 */
export function serveApps (http: Server, apps: ViteApp[], render?: (app: ViteApp, path: string, html: string) => Promise<string | undefined>): void {
  http.on('request', (request, response) => {
    const { pathname, search } = new URL(request.url!, 'http://localhost')
    const app = apps.find(({ name }) => pathname.startsWith(`/${name}/`))
    const answer = async (): Promise<void> => {
      if (app === undefined) {
        response.writeHead(404).end()
        return
      }
      const path = pathname.slice(app.name.length + 2)
      const isPage = extname(path) === ''
      const body = await readFile(join(app.folder, isPage ? 'index.html' : path))
      const page = isPage ? await render?.(app, path + search, body.toString()) : undefined
      response.writeHead(200, { 'content-type': `${TYPES[isPage ? '.html' : extname(path)] ?? 'application/octet-stream'}; charset=utf-8` }).end(page ?? body)
    }
    answer().catch((error: unknown) => { response.writeHead(500).end(String(error)) })
  })
}

interface Test { teardown (end: () => unknown): void }

/** A browser for the tests of a file. It runs without a sandbox, since tests may run as root. */
export async function startBrowser (t: Test): Promise<Browser> {
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM_PATH,
    chromiumSandbox: false,
    args: ['--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync']
  })
  t.teardown(() => browser.close())
  return browser
}

/** A page in a context of its own, and everything that it wrote to its console as a warning or an error. */
export async function visit (t: Test, browser: Browser, url: string, options: BrowserContextOptions = {}): Promise<{ page: Page, complaints: string[] }> {
  const context = await browser.newContext(options)
  t.teardown(() => context.close())
  const page = await context.newPage()
  const complaints: string[] = []
  page.on('pageerror', (error) => { complaints.push(error.message) })
  page.on('console', (message) => { if (['warning', 'error'].includes(message.type())) complaints.push(message.text()) })
  await page.goto(url)
  return { page, complaints }
}
