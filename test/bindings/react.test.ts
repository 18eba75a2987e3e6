import { readFile } from 'node:fs/promises'
import t, { type Test } from 'tap'
import type { Page } from 'playwright-core'
import { CloseCode } from '../../lib/protocol/codes.js'
import { DatasoleError } from '../../lib/protocol/errors.js'
import type { LiveClient } from '../../lib/client/client.js'
import { type Running, entrances } from '../helpers/entrances.js'
import { inTime, until } from '../helpers/until.js'
import { consumer } from '../package/consumer.js'
import { type ViteApp, serveApps, startBrowser, viteApp, visit } from './vite-app.js'

/** Shared with the page: test/bindings/react-app/lab.js. */
interface Lab {
  renders: Record<string, number>
  log: unknown[]
  errors: string[]
  root: { unmount (): void }
  client: LiveClient
  same: boolean
  setShown (isShown: boolean): void
  setKey (key: string | null): void
  setRoute (route: string): void
  setMethod (method: string): void
  again (state: number): void
  next (): void
  rpc: { call (...args: unknown[]): Promise<unknown> }
  notes: { update (recipe: (draft: string[]) => void): void, set (value: string[]): void }
  likes: { increment (amount?: number): void }
  prefs: { set (field: string, value: unknown): void }
  refused: { set (value: unknown): void }
}

// the functions that are given to `evaluate` run in the page
declare const lab: Lab

interface Rendering { version: string, render (initial: object): string, renderUnknown (): string }

const project = await consumer(t)
const source = 'test/bindings/react-app'
const aliases = ['react-dom', 'react'].map((name) => ({ find: new RegExp(`^${name}(?=/|$)`), replacement: `${name}-19` }))
const apps = await Promise.all([
  viteApp(project, { name: 'react-18', source, server: 'server.jsx' }),
  viteApp(project, { name: 'react-19', source, server: 'server.jsx', alias: aliases })
])
const browser = await startBrowser(t)
const start = entrances.find(([name]) => name === 'standalone')![1]

/** The parts of the server that a test asserts on. */
interface Server extends Running {
  connections: number
  /** The keys that were subscribed to, in order. */
  subscribed: string[]
  aborted: string[]
}

async function startServer (t: Test, initial?: (app: ViteApp) => Promise<object>): Promise<Server> {
  const seen = { connections: 0, subscribed: [] as string[], aborted: [] as string[] }
  const running = await start(t, {
    rateLimit: false,
    async prepare (ds, http) {
      serveApps(http, apps, async (app, path, html) => {
        if (path !== '?case=server') return undefined
        const values = await initial!(app)
        const { render } = await import(app.server!) as Rendering
        return html.replace('<div id="root"></div>', `<div id="root">${render(values)}</div><script>window.initial = ${JSON.stringify(values)}</script>`)
      })
      ds.addHook('onConnect', () => { seen.connections++ })
      ds.addHook('preSubscribe', (_ctx, { key }) => {
        seen.subscribed.push(key)
        if (key === 'secret') throw new DatasoleError('FORBIDDEN', 'no')
      })
      ds.rpc.register('answer', (params) => params)
      ds.rpc.register('fail', () => { throw Object.assign(new Error('no'), { code: 7 }) })
      ds.rpc.register('wait', async (params, { signal }) => await new Promise((_resolve, reject) => {
        signal.addEventListener('abort', () => {
          seen.aborted.push(params as string)
          reject(new Error('aborted'))
        })
      }))
      await ds.primitives.live.setState('board', { n: 1, title: 'a', tags: ['x'] })
    }
  })
  return Object.assign(seen, running)
}

async function shows (page: Page, id: string, text: string): Promise<void> {
  await page.waitForFunction(`document.getElementById(${JSON.stringify(id)})?.textContent === ${JSON.stringify(text)}`, undefined, { timeout: 30_000 }).catch(async (cause: unknown) => {
    throw new Error(`#${id} does not show "${text}", but "${await page.textContent(`#${id}`, { timeout: 100 }).catch(() => 'nothing')}"`, { cause })
  })
}

const update = async ({ ds }: Running, change: (board: { n: number, title: string }) => void, key = 'board'): Promise<unknown> => await ds.primitives.live.update(key, (draft) => { change(draft as { n: number, title: string }) })
const cut = ({ ds }: Running): unknown => ds.disconnectUser('127.0.0.1', { code: CloseCode.GOING_AWAY })

for (const app of apps) {
  const open = async (t: Test, { origin }: Running, name: string): ReturnType<typeof visit> => await visit(t, browser, `${origin}/${app.name}/?case=${name}`)

  t.test(`${app.name}: it is that version, from the tarball`, async (t) => {
    const { version } = await import(app.server!) as Rendering
    t.equal(`react-${version.split('.')[0]!}`, app.name)
    t.match(await readFile(`${project.installed}/package.json`, 'utf8'), /"name": "datasole"/)
  })

  t.test(`${app.name}: useLive in StrictMode has one connection and one subscription`, async (t) => {
    const server = await startServer(t)
    const { page, complaints } = await open(t, server, 'live')
    await shows(page, 'whole', '1 a live 1 undefined')
    await shows(page, 'part', 'a live 1')
    await shows(page, 'connection', 'connected undefined')
    await shows(page, 'key', 'nothing skipped undefined')
    t.strictSame([server.connections, server.subscribed], [1, ['board']])

    // a change beside the selected part renders only the other component
    const before = await page.evaluate(() => lab.renders.part)
    for (let n = 2; n <= 5; n++) await update(server, (board) => { board.n = n })
    await shows(page, 'whole', '5 a live 5 undefined')
    t.equal(await page.evaluate(() => lab.renders.part), before, 'the selection is the same')
    await update(server, (board) => { board.title = 'b' })
    await shows(page, 'part', 'b live 6')
    t.equal(await page.evaluate(() => lab.renders.part), before! + 2, 'twice, as StrictMode does')

    // the selector is another function, and makes another array
    const selections = await page.evaluate(() => {
      lab.again(1)
      return lab.renders.selection
    })
    await until(async () => await page.evaluate(() => lab.renders.part) === before! + 4)
    t.equal(await page.evaluate(() => lab.renders.selection), selections, 'an equal selection is the same object')

    // a key that changes
    await server.ds.primitives.live.setState('other', { n: 7 })
    await page.evaluate(() => { lab.setKey('other') })
    await shows(page, 'key', '7 live undefined')
    await page.evaluate(() => { lab.setKey('secret') })
    await shows(page, 'key', 'nothing denied FORBIDDEN')
    await page.evaluate(() => { lab.setKey(null) })
    await shows(page, 'key', 'nothing skipped undefined')
    t.strictSame(server.subscribed, ['board', 'other', 'secret'])

    // a reconnect
    await page.evaluate(() => { lab.log = [] })
    await page.evaluate(() => { lab.setKey('other') })
    await cut(server)
    await update(server, (board) => { board.n = 6 })
    await shows(page, 'whole', '6 b live 7 undefined')
    t.strictSame(await page.evaluate(() => lab.log), ['stale', 'live'])
    t.equal(server.connections, 2)

    // the Provider's client ends with it
    await page.evaluate(() => { lab.setShown(false) })
    await until(() => server.ds.metrics.snapshot().connections === 0)
    t.equal(server.connections, 2)
    t.strictSame(complaints, [])
    t.strictSame(await page.evaluate(() => lab.errors), [])
  })

  t.test(`${app.name}: a change of route within keepMs keeps the subscription`, async (t) => {
    const server = await startServer(t)
    const { page, complaints } = await open(t, server, 'routes')
    await shows(page, 'whole', '1 a live 1 undefined')
    await page.evaluate(() => { lab.setRoute('second') })
    await page.evaluate(() => { lab.setRoute('none') })
    await page.evaluate(() => {
      lab.renders = {}
      lab.setRoute('third')
    })
    await shows(page, 'whole', '1 a live 1 undefined')
    t.equal(await page.evaluate(() => lab.renders.whole), 2, 'the value is there at once')
    t.strictSame(server.subscribed, ['board'])
    await page.evaluate(() => { lab.setRoute('none') })
    // until it has unsubscribed, each change is sent
    await until(async () => {
      const { statePatches } = server.ds.metrics.snapshot()
      await update(server, (board) => { board.n++ })
      await page.evaluate('new Promise(requestAnimationFrame)')
      return server.ds.metrics.snapshot().statePatches === statePatches
    })
    await page.evaluate(() => { lab.setRoute('last') })
    await until(() => server.subscribed.length === 2)
    t.strictSame(complaints, [])
  })

  t.test(`${app.name}: useRpc follows the latest call, and aborts when it is unmounted`, async (t) => {
    const server = await startServer(t)
    const { page, complaints } = await open(t, server, 'rpc')
    await shows(page, 'early', 'early')
    await shows(page, 'rpc', 'false undefined undefined')
    await page.evaluate(() => lab.rpc.call({ a: 1 }))
    await shows(page, 'rpc', 'false undefined {"a":1}')
    t.equal(await page.evaluate(() => lab.rpc.call(5, { timeoutMs: 5000 })), 5)
    await page.evaluate(() => { lab.setMethod('fail') })
    await shows(page, 'rpc', 'false undefined undefined')
    // a rejection that nobody awaits is no unhandled one
    await page.evaluate(() => { void lab.rpc.call() })
    await shows(page, 'rpc', 'false 7 undefined')

    await page.evaluate(() => { lab.setMethod('wait') })
    await page.evaluate(() => { void lab.rpc.call('first') })
    await shows(page, 'rpc', 'true undefined undefined')
    t.equal(await page.evaluate(() => {
      const call = lab.rpc.call('mine', { signal: AbortSignal.abort(new Error('mine')) })
      return call.catch(({ message }: Error) => message)
    }), 'mine')
    await shows(page, 'rpc', 'false undefined undefined')
    const names = page.evaluate(() => Promise.all(['second', 'third'].map((name) => lab.rpc.call(name).catch(({ name }: Error) => name))))
    await shows(page, 'rpc', 'true undefined undefined')
    await page.evaluate(() => { lab.setShown(false) })
    t.strictSame(await inTime(names, () => 'the end of the calls'), ['AbortError', 'AbortError'])
    await until(() => server.aborted.length === 3)
    t.strictSame(server.aborted.sort(), ['first', 'second', 'third'])
    t.strictSame(complaints, [])
  })

  t.test(`${app.name}: useEvent loses none of 1,000 events`, async (t) => {
    const server = await startServer(t)
    const { page, complaints } = await open(t, server, 'events')
    await shows(page, 'connection', 'connected undefined')
    for (let i = 0; i < 1000; i++) server.ds.primitives.fanout.broadcast('tick', i)
    await shows(page, 'heard', '1000')
    t.strictSame(await page.evaluate(() => (lab.log as number[][]).map(([data]) => data)), Array.from({ length: 1000 }, (_, i) => i))
    server.ds.primitives.fanout.broadcast('tick', 1000)
    await shows(page, 'heard', '1001')
    t.strictSame(await page.evaluate(() => lab.log.at(-1)), [1000, 1000], 'it called the newest function')
    t.strictSame(complaints, [])
  })

  t.test(`${app.name}: useChannel and useCrdt in two browsers`, async (t) => {
    const server = await startServer(t)
    server.ds.primitives.live.createSyncChannel({ key: 'notes', direction: 'bidirectional', mode: 'json-patch', initialValue: ['first'] })
    const [ann, bob] = await Promise.all([open(t, server, 'written'), open(t, server, 'written')])
    for (const { page } of [ann, bob]) await shows(page, 'notes', 'first live false')
    await Promise.all([ann, bob].map(async ({ page }, i) => await page.evaluate((name) => { lab.notes.update((draft) => { draft.push(name) }) }, ['ann', 'bob'][i]!)))
    await Promise.all([ann, bob].map(async ({ page }) => await page.waitForFunction("/^first,(ann,bob|bob,ann) live false$/.test(document.getElementById('notes').textContent)")))
    await ann.page.evaluate(() => {
      lab.notes.set(['new'])
      lab.likes.increment(2)
      lab.prefs.set('color', 'red')
    })
    await bob.page.evaluate(() => { lab.likes.increment() })
    for (const { page } of [ann, bob]) {
      await shows(page, 'notes', 'new live false')
      await shows(page, 'likes', '3 true false undefined')
      await shows(page, 'prefs', '{"color":"red"}')
    }
    t.strictSame([...server.subscribed].sort(), ['board', 'board', 'likes', 'likes', 'notes', 'notes', 'prefs', 'prefs'])
    // offline, changes show at once and wait
    await bob.page.context().setOffline(true)
    await bob.page.evaluate(() => { lab.notes.update((draft) => { draft.push('offline') }) })
    await shows(bob.page, 'notes', 'new,offline live true')
    await bob.page.context().setOffline(false)
    await shows(ann.page, 'notes', 'new,offline live false')
    await shows(bob.page, 'notes', 'new,offline live false')
    t.strictSame([...ann.complaints, ...bob.complaints], [])
    t.match(await ann.page.evaluate(() => {
      try {
        lab.refused.set({ n: 0 })
      } catch (error) {
        return (error as DatasoleError).code
      }
    }), 'UNKNOWN_KEY')
  })

  t.test(`${app.name}: useSuspenseLive suspends until the first value, and not on a reconnect`, async (t) => {
    const server = await startServer(t)
    const { page } = await open(t, server, 'suspending')
    await page.waitForSelector('#boundary')
    t.equal(await page.textContent('#boundary'), 'FORBIDDEN')
    // a key without a value is known to have none
    await shows(page, 'later', 'undefined live')
    const fallbacks = await page.evaluate(() => lab.renders.fallback)
    t.ok(fallbacks! > 0)
    t.strictSame(server.subscribed.sort(), ['later', 'secret'])
    await server.ds.primitives.live.setState('later', { n: 1 })
    await shows(page, 'later', '1 live')
    await page.evaluate(() => { lab.log = [] })
    await cut(server)
    await update(server, (value) => { value.n = 2 }, 'later')
    await shows(page, 'later', '2 live')
    t.strictSame(await page.evaluate(() => lab.log), ['stale', 'live'])
    t.equal(await page.evaluate(() => lab.renders.fallback), fallbacks)
  })

  t.test(`${app.name}: no render shows two versions`, async (t) => {
    const server = await startServer(t)
    await server.ds.primitives.live.setState('counter', { n: 0 })
    const { page, complaints } = await open(t, server, 'torn')
    await shows(page, 'round', '0 0 false')
    for (let round = 1; round <= 3; round++) {
      // each render takes 40 ms in slices of 5 ms, and a change comes in between
      await page.evaluate(() => { lab.next() })
      for (let i = 0; i < 3; i++) await update(server, (value) => { value.n++ }, 'counter')
      await shows(page, 'round', `${round} ${round * 3} false`)
    }
    const shown = await page.evaluate(() => lab.log)
    t.ok(shown.length >= 6, `${shown.length} commits`)
    t.strictSame(shown.filter((versions) => versions !== 1), [])
    t.strictSame(complaints, [])
  })

  t.test(`${app.name}: a client of the application is left alone`, async (t) => {
    const server = await startServer(t)
    const { page, complaints } = await open(t, server, 'own')
    await shows(page, 'connection', 'disconnected undefined')
    t.equal(await page.evaluate(() => lab.same), true, 'an inner Provider has the outer client')
    await page.evaluate(() => lab.client.connect())
    await shows(page, 'whole', '1 a live 1 undefined')
    await page.evaluate(() => { lab.root.unmount() })
    t.equal(await page.evaluate(() => lab.client.rpc('echo', 'still here')), 'still here')
    t.strictSame(complaints, [])
  })

  t.test(`${app.name}: a page that a server rendered is hydrated, and follows from its version`, async (t) => {
    const server: Server = await startServer(t, async () => Object.fromEntries(await Promise.all(['board', 'notes'].map(async (key) => [key, await server.ds.primitives.live.getSnapshot(key)]))))
    server.ds.primitives.live.createSyncChannel({ key: 'notes', direction: 'bidirectional', mode: 'json-patch', initialValue: ['first', 'second'] })
    const { renderUnknown } = await import(app.server!) as Rendering
    t.match(renderUnknown(), /waiting/)
    const html = await (await fetch(`${server.origin}/${app.name}/?case=server`)).text()
    t.match(html, /<p id="board" data-status="stale">a 1 at 1<\/p><p id="missing" data-status="loading">undefined disconnected 0<\/p><p id="notes">first, second<\/p>/)
    t.match(html, /<p id="suspended">1<\/p>/)

    const { page, complaints } = await open(t, server, 'server')
    await shows(page, 'missing', 'undefined connected 0')
    await page.waitForSelector('#board[data-status=live]')
    await shows(page, 'board', 'a 1 at 1')
    t.equal(server.ds.metrics.snapshot().stateSnapshots, 2, 'the page got `missing` and `likes` only')
    await update(server, (board) => { board.n = 2 })
    await shows(page, 'board', 'a 2 at 2')
    await shows(page, 'suspended', '2')
    t.strictSame([...new Set(server.subscribed)].sort(), ['board', 'likes', 'missing', 'notes'])
    t.strictSame(await page.evaluate(() => lab.errors), [])
    t.strictSame(complaints, [])
  })
}
