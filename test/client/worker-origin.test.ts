import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type Browser, type Page, chromium } from 'playwright-core'
import t, { type Test } from 'tap'
import type { DatasoleClient, DatasoleClientOptions } from '../../lib/client/client.js'
import { entrances } from '../helpers/entrances.js'

// the functions that are given to `evaluate` run in the page
declare const lab: { client: DatasoleClient, errors: string[] }
declare const start: (options: DatasoleClientOptions) => Promise<unknown>

const html = (origin: string): string => `<!doctype html><title>test</title><link rel="icon" href="data:,"><script src="${origin}/__ds/datasole.iife.min.js" crossorigin></script><script nonce="n">
  function start (options) {
    window.lab = { errors: [] }
    lab.client = new Datasole.DatasoleClient({ onError: (error) => { lab.errors.push(error.code) }, ...options })
    return lab.client.connect().then(() => lab.client.rpc('echo', 'hello'))
  }
</script>`

let browser: Browser
t.before(async () => {
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM_PATH,
    chromiumSandbox: false,
    args: ['--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync']
  })
})
t.teardown(() => browser.close())

const startServer = entrances.find(([name]) => name === 'standalone')![1]

/** A page that is served with these headers, by the datasole server or by another; SERVER stands for the former. */
async function open (t: Test, from: 'same' | 'other', headers: Record<string, string>): Promise<{ page: Page, url: string }> {
  const serve = createServer()
  const { origin, server } = await startServer(t, { allowedOrigins: () => true })
  const site = from === 'same' ? server : serve.listen(0, '127.0.0.1')
  if (from === 'other') await once(site, 'listening')
  site.on('request', (_request, response) => {
    const sent = Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, value.replaceAll('SERVER', origin)]))
    response.writeHead(200, { 'content-type': 'text/html', ...sent }).end(html(origin))
  })
  t.teardown(() => { serve.closeAllConnections(); serve.close() })
  const context = await browser.newContext()
  t.teardown(() => context.close())
  const page = await context.newPage()
  page.on('pageerror', (error) => { t.fail(`an error in the page: ${error.message}`) })
  await page.goto(`http://127.0.0.1:${(site.address() as AddressInfo).port}/`)
  return { page, url: origin }
}

const CSP = "default-src 'none'; script-src SERVER 'nonce-n'; connect-src SERVER ws:; img-src data:;"
const TRUSTED = "require-trusted-types-for 'script';"

for (const [name, from, headers] of [
  ['a page of another origin', 'other', {}],
  ['one that is cross-origin isolated', 'other', { 'cross-origin-opener-policy': 'same-origin', 'cross-origin-embedder-policy': 'require-corp' }],
  ['one with a policy that allows blobs', 'other', { 'content-security-policy': `${CSP} worker-src blob:` }],
  ['one under Trusted Types', 'other', { 'content-security-policy': `${CSP} worker-src blob:; ${TRUSTED} trusted-types datasole` }],
  ['a page of the server\'s own under Trusted Types', 'same', { 'content-security-policy': `${CSP} worker-src 'self'; ${TRUSTED} trusted-types datasole` }],
  ['a page that names other policies, and enforces none', 'same', { 'content-security-policy': `${CSP} worker-src 'self'; trusted-types other` }]
] as Array<[string, 'same' | 'other', Record<string, string>]>) {
  t.test(`the worker works: ${name}`, async (t) => {
    const { page, url } = await open(t, from, headers)
    t.equal(await page.evaluate((url) => start({ url, useWorker: true }), url), 'hello')
    t.equal(page.workers().length, 1)
    t.equal(page.workers()[0]!.url().startsWith('blob:'), from === 'other')
    t.strictSame(await page.evaluate(() => lab.errors), [])
    const ended = page.workers()[0]!.waitForEvent('close')
    await page.evaluate(() => lab.client.disconnect())
    await ended
  })
}

for (const [name, from, headers] of [
  ['a page of another origin that allows no blobs', 'other', { 'content-security-policy': `${CSP} worker-src SERVER` }],
  ['one under Trusted Types that does not name the policy', 'other', { 'content-security-policy': `${CSP} worker-src blob:; ${TRUSTED} trusted-types other` }],
  ['one that may not import the script', 'other', { 'content-security-policy': "default-src 'none'; script-src SERVER/__ds/datasole.iife.min.js 'nonce-n'; connect-src SERVER ws:; img-src data:; worker-src blob:" }]
] as Array<[string, 'same' | 'other', Record<string, string>]>) {
  t.test(`the page's thread is used, and it is said: ${name}`, async (t) => {
    const { page, url } = await open(t, from, headers)
    t.equal(await page.evaluate((url) => start({ url }), url), 'hello')
    t.equal(page.workers().length, 0)
    t.strictSame(await page.evaluate(() => lab.errors), ['WORKER_UNAVAILABLE'])
  })
}
