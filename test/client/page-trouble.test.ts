import type { Browser, Page } from 'playwright-core'
import t from 'tap'
import type { DatasoleClientOptions } from '../../lib/client/client.js'
import { CloseCode } from '../../lib/protocol/codes.js'
import { Proxy } from '../helpers/proxy.js'
import { type Lab, launch, open, startServer, visit, html } from './lab-page.js'

// the functions that are given to `evaluate` run in the page
declare const lab: Lab & { batches: number[] }
declare const addEventListener: (name: string, listener: (event: { persisted: boolean }) => void) => void
declare const start: (options: DatasoleClientOptions) => Promise<void>

let browser: Browser
t.before(async () => { browser = await launch(['--disable-back-forward-cache']) })
t.teardown(() => browser.close())
t.jobs = 4 // most of them wait

const board = async (page: Page): Promise<unknown> => await page.evaluate(() => lab.client.getState('board'))

t.test('page: it is offline for 20 seconds, and has the newest value right after', { buffered: true }, async (t) => {
  const { ds, page, context } = await open(t, browser, { heartbeatMs: 1000 })
  await ds.primitives.live.setState('board', 1)
  await page.evaluate(() => start({}))
  await page.waitForFunction(() => lab.told.length === 1)
  await context.setOffline(true)
  await ds.primitives.live.setState('board', 2)
  await new Promise((resolve) => setTimeout(resolve, 20_000)) // the length is what is tested
  t.equal(await board(page), 1)
  t.equal(await page.evaluate(() => lab.client.getConnectionState()), 'reconnecting')
  await context.setOffline(false)
  await page.waitForFunction(() => lab.client.getState('board') === 2)
})

for (const useWorker of [true, false]) {
  t.test(`page: a connection that is half-open is found and replaced, useWorker: ${useWorker}`, { buffered: true }, async (t) => {
    const { ds, port } = await startServer(t, { heartbeatMs: 500, prepare (_ds, server) { server.on('request', (request, response) => { if (request.url === '/') response.writeHead(200, { 'content-type': 'text/html' }).end(html('/__ds/datasole.iife.min.js')) }) } })
    const proxy = await new Proxy(port).listen()
    t.teardown(() => proxy.close())
    await ds.primitives.live.setState('board', 1)
    const { page } = await visit(t, browser, `http://127.0.0.1:${proxy.port}/`)
    await page.evaluate((useWorker) => start({ useWorker }), useWorker)
    await page.waitForFunction(() => lab.told.length === 1)
    proxy.swallow('down')
    await ds.primitives.live.setState('board', 2)
    await page.waitForFunction(() => lab.client.getState('board') === 2)
    t.match(await page.evaluate(() => lab.states), ['connecting', 'connected', 'reconnecting'])
  })
}

t.test('page: the server restarts, and the page goes on', { buffered: true }, async (t) => {
  const first = await open(t, browser)
  await first.ds.primitives.live.setState('board', 'before')
  await first.page.evaluate(() => start({ useWorker: true }))
  await first.page.waitForFunction(() => lab.told.length === 1)
  const { port, page } = first
  await first.close()
  await page.waitForFunction(() => lab.states.includes('reconnecting'))
  const again = await startServer(t, { prepare: (_ds, server) => { server.once('error', () => { t.fail('the port is taken') }); const listen = server.listen.bind(server); server.listen = ((_port: number, ...rest: never[]) => listen(port, ...rest)) as typeof server.listen } })
  t.equal(again.port, port)
  await again.ds.primitives.live.setState('board', 'after')
  await page.waitForFunction(() => lab.client.getState('board') === 'after')
})

t.test('page: the back/forward cache takes it, and it reconnects when it is shown again', { buffered: true }, async (t) => {
  const { ds, page, origin } = await open(t, browser)
  await ds.primitives.live.setState('board', 1)
  await page.evaluate(async () => {
    await start({ useWorker: false })
    addEventListener('pageshow', ({ persisted }) => { lab.heard.push(persisted) })
  })
  await page.waitForFunction(() => lab.told.length === 1)
  await page.goto(`${origin}/__ds/datasole.iife.min.js`)
  await ds.primitives.live.setState('board', 2)
  await page.goBack({ waitUntil: 'commit' }) // a page of the cache is not loaded again
  await page.waitForFunction(() => (globalThis as { lab?: Lab }).lab?.client.getState('board') === 2)
  t.strictSame(await page.evaluate(() => lab.heard), [true], 'it is the page that was left')
  t.match(await page.evaluate(() => lab.causes), [/suspended the page/])
})

t.test('page: a tab that was frozen has the newest value once it is resumed', { buffered: true }, async (t) => {
  const { ds, page, context } = await open(t, browser)
  await ds.primitives.live.setState('board', 0)
  await page.evaluate(() => start({}))
  await page.waitForFunction(() => lab.told.length === 1)
  const session = await context.newCDPSession(page)
  await session.send('Page.setWebLifecycleState', { state: 'frozen' })
  for (let i = 1; i <= 100; i++) await ds.primitives.live.setState('board', i)
  await session.send('Page.setWebLifecycleState', { state: 'active' })
  await page.waitForFunction(() => lab.client.getState('board') === 100)
  t.strictSame(await page.evaluate(() => lab.errors), [])
})

t.test('page: 10,000 patches come in pieces, and the page draws in between', { buffered: true }, async (t) => {
  const { ds, page } = await open(t, browser, { rateLimit: false })
  const records = Array.from({ length: 1000 }, (_, id) => ({ id, name: `record ${id}`, score: 0 }))
  await ds.primitives.live.setState('board', { records })
  // what the page gets from its worker, in bytes per message, before its last frame
  await page.evaluate(`(async () => {
    const batches = []
    globalThis.Worker = class extends Worker {
      constructor (url) {
        super(url)
        this.addEventListener('message', ({ data }) => { if (data.type === 'frames') batches.push(data.frames.slice(0, -1).reduce((sum, { length }) => sum + length, 0)) })
      }
    }
    await start({ useWorker: true })
    lab.batches = batches
  })()`)
  await page.waitForFunction(() => lab.told.length === 1)
  for (let i = 1; i <= 10_000; i++) {
    void ds.primitives.live.update('board', (draft) => { (draft as { records: typeof records }).records[i % 1000]!.score = i })
    if (i % 100 === 0) await new Promise(setImmediate)
  }
  await ds.primitives.live.update('board', (draft) => { (draft as { done?: boolean }).done = true })
  await page.waitForFunction(() => (lab.client.getState('board') as { done?: boolean }).done === true)
  t.ok(Math.max(...await page.evaluate(() => lab.batches)) < 64 * 1024, 'no message takes more than 64 KiB and a frame')
  t.equal(await page.evaluate(() => (lab.client.getState('board') as { records: typeof records }).records.reduce((sum, { score }) => sum + score, 0)), Array.from({ length: 1000 }, (_, i) => i + 9000 + (i === 0 ? 1000 : 0)).reduce((a, b) => a + b))
})

for (const useWorker of [true, false]) {
  t.test(`page: 1,000 reconnects leave nothing in memory, useWorker: ${useWorker}`, { buffered: true }, async (t) => {
    const { ds, page, context } = await open(t, browser, { rateLimit: false })
    await ds.primitives.live.setState('board', { text: 'x'.repeat(10_000) })
    await page.evaluate((useWorker) => start({ useWorker, reconnectInterval: 1 }), useWorker)
    const session = await context.newCDPSession(page)
    const reconnect = async (times: number): Promise<void> => {
      for (let i = 0; i < times; i++) {
        const known = await page.evaluate(() => lab.states.length)
        ds.disconnectUser('127.0.0.1', { code: CloseCode.GOING_AWAY })
        await page.waitForFunction((known) => lab.states.length >= known + 2, known, { polling: 5 })
      }
      await page.evaluate(() => { for (const list of [lab.states, lab.causes, lab.told]) list.length = 0 })
    }
    const heap = async (): Promise<number> => {
      await session.send('HeapProfiler.collectGarbage')
      return (await session.send('Runtime.getHeapUsage')).usedSize
    }
    await reconnect(200)
    const before = await heap()
    await reconnect(800)
    const grown = await heap() - before
    t.ok(grown < 200_000, `${grown} bytes more after 800 reconnects`)
  })
}
