import { type Browser, type BrowserContext, type Page, chromium } from 'playwright-core'
import type { ConnectionState, DatasoleClient, DatasoleError } from '../../lib/client/client.js'
import { type Running, type StartOptions, entrances } from '../helpers/entrances.js'

/** The global `lab` of the page: a client, and what it told. */
export interface Lab {
  client: DatasoleClient
  states: ConnectionState[]
  /** Why the connection was lost, each time. */
  causes: string[]
  errors: DatasoleError[]
  told: unknown[]
  heard: unknown[]
}

export const html = (bundle: string): string => `<!doctype html><title>test</title><link rel="icon" href="data:,"><script src="${bundle}"></script><script>
  function start (options) {
    window.lab = { states: [], causes: [], errors: [], told: [], heard: [] }
    lab.client = new Datasole.DatasoleClient({ reconnectInterval: 10, onError: (error) => { lab.errors.push({ code: error.code, message: error.message }) }, ...options })
    lab.client.onConnectionState((state, cause) => {
      lab.states.push(state)
      if (cause !== undefined) lab.causes.push(cause.message)
    })
    lab.client.on('chat', ({ data }) => { lab.heard.push(data) })
    lab.client.subscribeState('board', (value, { version }) => { lab.told.push([value, version]) })
    return lab.client.connect()
  }
</script>`

interface Test {
  teardown (fn: () => unknown): void
  fail (message: string): unknown
}

/** @param without switches of Playwright's that the test does not want */
export async function launch (without: string[] = []): Promise<Browser> {
  return await chromium.launch({
    executablePath: process.env.CHROMIUM_PATH,
    chromiumSandbox: false,
    ignoreDefaultArgs: without,
    args: ['--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync']
  })
}

export const startServer = entrances.find(([name]) => name === 'standalone')![1]

/** A server whose page has been loaded. */
export async function open (t: Test, browser: Browser, { headers = {}, ...options }: StartOptions & { headers?: Record<string, string> } = {}): Promise<Running & { page: Page, context: BrowserContext }> {
  const running = await startServer(t, {
    ...options,
    async prepare (ds, server) {
      server.on('request', (request, response) => {
        if (request.url === '/') response.writeHead(200, { 'content-type': 'text/html', ...headers }).end(html('/__ds/datasole.iife.min.js'))
        else response.writeHead(404).end()
      })
      await options.prepare?.(ds, server)
    }
  })
  return { ...running, ...await visit(t, browser, running.origin) }
}

export async function visit (t: Test, browser: Browser, url: string): Promise<{ page: Page, context: BrowserContext }> {
  const context = await browser.newContext()
  t.teardown(() => context.close())
  const page = await context.newPage()
  page.on('pageerror', (error) => { t.fail(`an error in the page: ${error.message}`) })
  await page.goto(url)
  return { page, context }
}
