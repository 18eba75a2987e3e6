import t from 'tap'
import type { Browser, Page } from 'playwright-core'
import { until } from '../helpers/until.js'
import { type Board, changeBoard, cut, load, shows, startAppServer } from './app-server.js'
import { type ViteApp, visit } from './vite-app.js'

/** The global of the apps: the tests look at it and act on it. */
interface Lab {
  renders: Record<string, number>
  log: unknown[]
  errors: string[]
  key: string | null
  setShown (isShown: boolean): void
  setKey (key: string | null): void
  call (params: unknown): Promise<unknown>
  notes: { update (recipe: (draft: string[]) => void): void, set (value: string[]): void }
  likes: { increment (amount?: number): void }
}

// the functions that are given to `evaluate` run in the page
declare const lab: Lab

/** The tests of a framework's bindings. The apps show the same in all of them. */
export function testBindings (framework: string, app: ViteApp, getBrowser: () => Browser): void {
  const open = async (t: Parameters<typeof visit>[0], origin: string): Promise<{ page: Page, complaints: string[] }> => await visit(t, getBrowser(), `${origin}/${app.name}/`)

  t.test(`${framework}: a live value, a part of it, a key that changes`, async (t) => {
    const server = await startAppServer(t, app)
    const { page, complaints } = await open(t, server.origin)
    await shows(page, 'board', 'a live 1')
    await shows(page, 'part', 'a')
    await shows(page, 'key', 'undefined skipped')
    await shows(page, 'connection', 'connected')
    t.strictSame([server.connections, server.subscribed.filter((key) => key === 'board')], [1, ['board']])

    await page.evaluate(() => { lab.renders = {} })
    await changeBoard(server, (board) => { board.records[7]!.n = 1 })
    await shows(page, 'record-7', '1')
    await shows(page, 'board', 'a live 2')
    t.strictSame(await page.evaluate(() => Object.keys(lab.renders).filter((name) => name.startsWith('record'))), ['record-7'], 'of 1,000 records the one that changed is rendered')
    t.equal(await page.evaluate(() => lab.renders.part), undefined, 'the selected part is the same')
    await changeBoard(server, (board) => {
      board.title = 'b'
      const [first] = board.records.splice(0, 1)
      board.records.splice(500, 0, first!)
      board.records.push({ id: 1000, n: 5 })
    })
    await shows(page, 'part', 'b')
    await shows(page, 'record-1000', '5')
    t.strictSame(await page.evaluate("Array.from(document.querySelectorAll('[id^=record-]'), ({ id }) => Number(id.slice(7)))"), (await server.ds.primitives.live.getState('board') as Board).records.map(({ id }) => id))

    for (const [key, text] of [['other', 'o live'], ['secret', 'undefined denied'], ['missing', 'undefined live'], [null, 'undefined skipped']] as const) {
      await page.evaluate((key) => { lab.setKey(key) }, key)
      await shows(page, 'key', text)
    }
    t.strictSame(complaints, [])
    t.strictSame(await page.evaluate(() => lab.errors), [])
  })

  t.test(`${framework}: a reconnect, and a component that comes back within keepMs`, async (t) => {
    const server = await startAppServer(t, app)
    const { page, complaints } = await open(t, server.origin)
    await shows(page, 'board', 'a live 1')
    await page.evaluate(() => { lab.log = [] })
    await cut(server)
    await changeBoard(server, (board) => { board.title = 'c' })
    await shows(page, 'board', 'c live 2')
    t.strictSame(await page.evaluate(() => lab.log), ['stale', 'live'])
    const before = server.subscribed.length
    await page.evaluate(() => { lab.setShown(false) })
    await shows(page, 'gone', 'gone')
    await changeBoard(server, (board) => { board.title = 'd' })
    await page.evaluate(() => { lab.setShown(true) })
    await shows(page, 'board', 'd live 3')
    t.equal(server.subscribed.length, before, 'it was not subscribed to again')
    t.strictSame(complaints, [])
  })

  t.test(`${framework}: calls follow the latest, and are aborted with the component`, async (t) => {
    const server = await startAppServer(t, app)
    const { page, complaints } = await open(t, server.origin)
    await shows(page, 'rpc', 'false undefined undefined')
    t.equal(await page.evaluate(() => lab.call('now')), 'now')
    await shows(page, 'rpc', 'false undefined now')
    const outcome = page.evaluate(() => lab.call('wait').catch(({ name }: Error) => name))
    await shows(page, 'rpc', 'true undefined now')
    await until(() => server.ds.metrics.snapshot().connections === 1)
    await page.evaluate(() => { lab.setShown(false) })
    t.equal(await outcome, 'AbortError')
    await until(() => server.aborted.length === 1)
    t.strictSame(complaints, [])
  })

  t.test(`${framework}: no event of 1,000 is lost`, async (t) => {
    const server = await startAppServer(t, app)
    const { page, complaints } = await open(t, server.origin)
    await shows(page, 'board', 'a live 1')
    await page.evaluate(() => { lab.log = [] })
    for (let i = 0; i < 1000; i++) server.ds.primitives.fanout.broadcast('tick', i)
    await page.waitForFunction(() => lab.log.length >= 1000)
    t.strictSame(await page.evaluate(() => lab.log), Array.from({ length: 1000 }, (_, i) => i))
    t.strictSame(complaints, [])
  })

  t.test(`${framework}: a channel and a CRDT in two browsers`, async (t) => {
    const server = await startAppServer(t, app)
    const [ann, bob] = await Promise.all([open(t, server.origin), open(t, server.origin)])
    for (const { page } of [ann, bob]) await shows(page, 'notes', 'first false')
    await ann.page.evaluate(() => {
      lab.notes.update((draft) => { draft.push('ann') })
      lab.likes.increment(2)
    })
    await bob.page.evaluate(() => { lab.likes.increment() })
    for (const { page } of [ann, bob]) {
      await shows(page, 'notes', 'first,ann false')
      await shows(page, 'likes', '3 true false')
    }
    await bob.page.evaluate(() => { lab.notes.set(['bob']) })
    await shows(ann.page, 'notes', 'bob false')
    t.strictSame([...ann.complaints, ...bob.complaints], [])
  })

  t.test(`${framework}: a page that a server rendered is hydrated, and follows from its version`, async (t) => {
    const server = await startAppServer(t, app, async () => await load(t, server.url, 'board'))
    const html = await (await fetch(`${server.origin}/${app.name}/?server`)).text()
    t.match(html, /<p id="board">(<!--.*?-->)?a stale 1/)
    server.subscribed.length = 0
    const snapshots = server.ds.metrics.snapshot().stateSnapshots
    const { page, complaints } = await visit(t, getBrowser(), `${server.origin}/${app.name}/?server`)
    await shows(page, 'board', 'a live 1')
    await changeBoard(server, (board) => { board.title = 'z' })
    await shows(page, 'board', 'z live 2')
    await until(() => server.subscribed.length >= 3)
    // that loader's again, then those of keys that the page does not have: notes and likes
    t.ok(server.ds.metrics.snapshot().stateSnapshots - snapshots <= 3, 'the page got no snapshot of the board')
    t.strictSame(complaints, [])
  })
}
