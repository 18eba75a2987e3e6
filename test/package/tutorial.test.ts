import { join, resolve } from 'node:path'
import { type Browser, type BrowserContext, type Page, chromium } from 'playwright-core'
import t, { type Test } from 'tap'
import ts from 'typescript'
import { projectErrors } from '../helpers/snippets.js'
import { until } from '../helpers/until.js'
import { consumer } from './consumer.js'
import { JAVASCRIPT, SETUP, START, STEPS, brokenLinks, filesOf, listingsOf, newLines, startApp, writeApp, writeStep } from './tutorial-app.js'

/** The pages, as a reader uses them: copied, run by the packed package, and looked at in a browser. */
const FLAGS = ['--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync']
const { folder } = await consumer(t)
let browser: Browser
let context: BrowserContext
let complaints: string[]

t.before(async () => {
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM_PATH, chromiumSandbox: false, args: FLAGS })
})
t.teardown(() => browser?.close())

const app = async (step: number): Promise<string> => await writeStep(folder, step)

/** A tab; those of one context share cookies. */
async function open (url: string, isConnected = true, tabs = context): Promise<Page> {
  const page = await tabs.newPage()
  page.on('pageerror', (error) => { complaints.push(error.message) })
  await page.goto(url)
  if (isConnected) await page.waitForSelector('#status:text-is("connected")')
  return page
}

/** A test with tabs, in which no page may fail. */
const withTabs = (name: string, use: (t: Test) => Promise<void>): void => {
  void t.test(name, async (t) => {
    complaints = []
    context = await browser.newContext()
    await use(t)
    t.strictSame(complaints, [], 'no page has failed')
    for (const each of browser.contexts()) await each.close()
  })
}

const shows = async (page: Page, selector: string, text: string | RegExp): Promise<void> => {
  await page.locator(selector).filter({ hasText: text }).waitFor()
}

t.test('tutorial: the pages are there, and their links lead somewhere', async (t) => {
  t.equal(STEPS.length, 8)
  for (const page of [START, SETUP, ...STEPS]) t.strictSame(brokenLinks(page), [], page)
  for (const page of STEPS) t.ok(filesOf([page]).has('server.ts'), `${page} has the whole server`)
  t.ok(filesOf([START]).get('server.js')!.trim().split('\n').length <= 17, 'a short one at the start')
})

t.test('tutorial: the lines that a step adds to a file are marked', async (t) => {
  t.equal(newLines('a\nb\n\nd', 'a\n  b\nnew\nd\n\nlast\nend'), '3,6-7')
  for (const [i, page] of STEPS.entries()) {
    const before = filesOf(STEPS.slice(0, i))
    for (const { name, code, marks } of listingsOf(page)) t.equal(marks, before.has(name) ? newLines(before.get(name)!, code) : '', `${page}: ${name}`)
  }
})

t.test('tutorial: the types of every step are right', async (t) => {
  for (let step = 1; step <= STEPS.length; step++) t.strictSame(projectErrors(await app(step)), [], `step ${step}`)
  const wrong = await writeApp(join(folder, 'wrong'), new Map(Array.from(filesOf([SETUP, STEPS[0]!]), ([name, code]) => [name, code.replace("'pick', (", "'pikc', (")])))
  t.match(projectErrors(wrong), [/^server\.ts: .*"pikc"/])
})

withTabs('five minutes: two tabs show one value, and reconnect', async (t) => {
  const start = await writeApp(join(folder, 'five-minutes'), filesOf([START]))
  const server = await startApp(t, start, {}, JAVASCRIPT)
  const [one, two] = await Promise.all([1, 2].map(async () => {
    const page = await open(server.url, false)
    await shows(page, '#clicks', '0')
    return page
  })) as [Page, Page]
  await one.click('button')
  await Promise.all([shows(one, '#clicks', '1'), shows(two, '#clicks', '1')])
  await server.stop('SIGINT')
  await startApp(t, start, { PORT: new URL(server.url).port }, JAVASCRIPT)
  await Promise.all([shows(one, '#clicks', '0'), shows(two, '#clicks', '0')])
})

withTabs('step 1: a method answers, and refuses', async (t) => {
  const folder = await app(1)
  const server = await startApp(t, folder, {}, [resolve('node_modules/tsx/dist/cli.mjs'), 'server.ts']) // as npx does
  const page = await open(server.url)
  await page.click('#pick button')
  await shows(page, '#pick output', /^(Ada|Bob|Cem)$/)
  await page.fill('#pick [name=names]', '')
  await page.click('#pick button')
  await shows(page, '#notice', /issues/)
  for (const path of ['/server.ts', '/page/main.ts', '/..%2fserver.ts', '/none.js']) t.equal((await fetch(server.url + path)).status, 404, path)

  t.equal(await server.stop('SIGINT'), 0)
  await shows(page, '#status', 'reconnecting')
  await page.fill('#pick [name=names]', 'Zoe')
  await page.click('#pick button')
  const again = await startApp(t, folder, { PORT: new URL(server.url).port })
  await shows(page, '#pick output', 'Zoe')
  t.equal(await again.stop(), 0)
})

withTabs('step 2: the dashboard follows', async (t) => {
  const server = await startApp(t, await app(2))
  const [one, two] = await Promise.all([open(server.url), open(server.url)])
  await shows(one, '[data-field=online]', '2')
  await one.click('#pick button')
  await Promise.all([shows(one, '[data-field=picks]', '1'), shows(two, '[data-field=picks]', '1')])
  const time = await two.textContent('[data-field=time]')
  t.match(time, /^\d\d:\d\d:\d\d$/)
  await until(async () => await two.textContent('[data-field=time]') !== time)
  await one.close()
  await shows(two, '[data-field=online]', '1')
  t.equal(await server.stop(), 0)
  t.equal(server.output(), `Open ${server.url}\n`, 'nothing is logged at the end')
})

withTabs('step 3: the chat reaches its room only', async (t) => {
  const folder = await app(3)
  const server = await startApp(t, folder)
  const [ada, bob, eve] = await Promise.all([open(server.url), open(server.url), open(server.url)])
  await eve.selectOption('#chat [name=room]', 'kitchen')
  await ada.fill('#chat [name=by]', 'Ada')
  await bob.fill('#chat [name=by]', 'Bob')
  await eve.fill('#chat [name=by]', 'Eve')

  await ada.fill('#chat [name=text]', '<b>hello</b>')
  await shows(bob, '#typing', 'Ada is typing')
  await ada.click('#chat button')
  await Promise.all([shows(ada, '#messages', 'Ada: <b>hello</b>'), shows(bob, '#messages', 'Ada: <b>hello</b>')])
  await eve.fill('#chat [name=text]', 'tea?')
  await eve.click('#chat button')
  await shows(eve, '#messages', 'Eve: tea?')
  t.equal(await eve.textContent('#typing'), '')
  t.notMatch(await eve.textContent('#messages'), 'hello')
  await eve.selectOption('#chat [name=room]', 'lobby')
  await shows(eve, '#messages', /^Ada: <b>hello<\/b>$/)

  for (let i = 2; i <= 5; i++) {
    await ada.fill('#chat [name=text]', `message ${i}`)
    await ada.click('#chat button')
    await shows(bob, '#messages li:last-child', `message ${i}`)
  }
  await ada.fill('#chat [name=text]', 'the sixth')
  await ada.click('#chat button')
  await shows(ada, '#notice', /./)
  t.equal(await ada.inputValue('#chat [name=text]'), 'the sixth')
  t.equal(await bob.locator('#messages li').count(), 5)

  // without a server
  await server.stop()
  await eve.fill('#chat [name=text]', 'late')
  await eve.click('#chat button')
  await startApp(t, folder, { PORT: new URL(server.url).port })
  await Promise.all([eve, bob].map(async (page) => { await shows(page, '#messages', /^Eve: late$/) }))
})

withTabs('step 4: the board converges', async (t) => {
  const folder = await app(4)
  const server = await startApp(t, folder)
  const [one, two] = await Promise.all([open(server.url), open(server.url)])
  const add = async (page: Page, text: string): Promise<void> => {
    await page.fill('#board [name=text]', text)
    await page.click('#board > button')
  }
  const cards = async (page: Page): Promise<string> => (await page.locator('#cards li').allTextContents()).map((text) => text.trim().replace(' Remove', '')).sort().join()

  await add(one, 'first')
  await shows(two, '#cards li', 'first')
  await two.check('#cards input')
  await one.locator('#cards input:checked').waitFor()
  await add(one, 'x'.repeat(101))
  await shows(one, '#notice', /./)
  await until(async () => await cards(one) === 'first')

  await two.locator('#cards li', { hasText: 'first' }).locator('button').click()
  await until(async () => await cards(one) === '')

  // without a server
  t.equal(await server.stop(), 0)
  await add(one, 'left')
  await add(two, 'right')
  await Promise.all([shows(one, '#cards li', 'left'), shows(two, '#cards li', 'right')])
  await startApp(t, folder, { PORT: new URL(server.url).port })
  for (const page of [one, two]) await until(async () => await cards(page) === 'left,right')
})

withTabs('step 4: it is the same in JavaScript', async (t) => {
  const files = filesOf([SETUP, ...STEPS.slice(0, 4)])
  const compilerOptions = { target: ts.ScriptTarget.ES2023, module: ts.ModuleKind.ESNext }
  const stripped = Array.from(files, ([name, code]) => name.endsWith('.ts')
    ? [name.replace(/ts$/, 'js'), ts.transpileModule(code, { compilerOptions }).outputText.replace('main.ts', 'main.js')] as const
    : [name, code] as const)
  const server = await startApp(t, await writeApp(join(folder, 'javascript'), new Map(stripped)), {}, JAVASCRIPT)
  const page = await open(server.url)
  await page.click('#pick button')
  await shows(page, '#pick output', /^(Ada|Bob|Cem)$/)
  t.equal(await server.stop(), 0)
})

withTabs('step 5: the page asks who it is', async (t) => {
  const server = await startApp(t, await app(5))
  const [ada, other] = await Promise.all([open(server.url, false), open(server.url, false)])
  const logIn = async (page: Page, name: string, password: string): Promise<void> => {
    await page.fill('#login [name=name]', name)
    await page.fill('#login [name=password]', password)
    await page.click('#login button')
  }
  await logIn(ada, 'ada', 'wrong')
  await shows(ada, '#notice', 'wrong name or password')
  await logIn(ada, 'ada', 'lovelace')
  await shows(ada, '#me', 'ada')
  await shows(ada, '#status', 'connected')
  await other.reload()
  await shows(other, '#status', 'connected')
  const bob = await open(server.url, false, await browser.newContext())
  await logIn(bob, 'bob', 'builder')
  await shows(bob, '#me', 'bob')
  t.strictSame(await bob.locator('#chat option').allTextContents(), ['lobby', 'kitchen'])
  await bob.fill('#chat [name=text]', 'hello')
  await shows(ada, '#typing', 'bob is typing')
  await bob.click('#chat button')
  await shows(ada, '#messages', 'bob: hello')
  await ada.click('#logout')
  await Promise.all([ada, other].map(async (page) => { await page.waitForSelector('#login') }))
  t.equal(await bob.textContent('#status'), 'connected')
})

withTabs('step 7: the page splits the work, and the last page is the same', async (t) => {
  t.notOk(filesOf([STEPS[7]!]).has('page/index.html'))
  const server = await startApp(t, await app(7))
  const page = await open(server.url, false, await browser.newContext())
  await page.fill('#login [name=name]', 'ada')
  await page.fill('#login [name=password]', 'lovelace')
  await page.click('#login button')
  await page.click('#split button')
  await shows(page, '#split output', 'computing')
  await page.click('#pick button')
  await shows(page, '#pick output', /./)
  await shows(page, '#split output', /^\d( \+ \d)+ and \d( \+ \d)+$/)
  await shows(page, '#dashboard', 'Online: 1. Nodes: 1.')
})
