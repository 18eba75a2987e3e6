import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import type { FastifyInstance } from 'fastify'
import { type Browser, type Page, chromium } from 'playwright-core'
import t from 'tap'

// not a static import: the examples are a program of their own, with a contract that is not that of the tests
const script = new URL('../../examples/app.js', import.meta.url)
const { app } = await import(script.href) as { app (): Promise<FastifyInstance> }
const FLAGS = ['--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync']

let browser: Browser
let fastify: FastifyInstance
let url: string

t.before(async () => {
  fastify = await app()
  url = await fastify.listen({ port: 0, host: '127.0.0.1' })
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM_PATH, chromiumSandbox: false, args: FLAGS })
})
t.teardown(async () => {
  await browser?.close()
  await fastify?.close()
})

async function open (complaints: string[] = []): Promise<Page> {
  const page = await (await browser.newContext()).newPage()
  page.on('console', (message) => { if (['error', 'warning'].includes(message.type())) complaints.push(message.text()) })
  page.on('pageerror', (error) => { complaints.push(error.message) })
  await page.goto(url)
  await page.waitForSelector('#connection[data-state=connected]')
  return page
}

async function join (page: Page, name: string, room: string): Promise<void> {
  await page.fill('#join [name=name]', name)
  await page.fill('#join [name=room]', room)
  await page.click('#join button')
  await page.waitForSelector('#chat:not([hidden])')
}

async function say (page: Page, text: string): Promise<void> {
  await page.fill('#say [name=text]', text)
  await page.click('#say button')
}

/** Who a page says is in its room, once there are so many. */
async function people (page: Page, count: number): Promise<string[]> {
  await page.waitForSelector(`#people:has(li:nth-child(${count})):not(:has(li:nth-child(${count + 1})))`)
  return (await page.locator('#people li').allTextContents()).sort()
}

t.test('app: the charts draw, and go on drawing', async (t) => {
  const complaints: string[] = []
  const page = await open(complaints)
  await page.waitForSelector('#cores figure:first-child .line[d*=C]', { state: 'attached' })
  const drawn = await page.getAttribute('#memory .line', 'd')
  await page.waitForSelector(`#memory .line:not([d="${drawn}"])`, { state: 'attached' })
  t.match(await page.textContent('#memory p'), /^\d+\.\dof \d+\.\d GiB$/)
  t.match(await page.textContent('#whole'), /^\d[\d.]* k?B per second$/)
  t.match(await page.textContent('#patches'), /^\d[\d.]* k?B per second$/)
  t.same(complaints, [], 'no policy broken, nothing missing')
  await page.context().close()
})

t.test('app: calls are answered, and refused by the schema', async (t) => {
  const page = await open()
  const newest = page.locator('#answers li:first-child')
  await page.click('#rpc > button')
  await page.waitForSelector('#answers [data-kind=result]')
  t.match(await newest.textContent(), /^factorize\({"n":600851475143}\)[\d.]+ ms71 × 839 × 1471 × 6857$/)
  await page.click('#samples button:last-child')
  await page.waitForSelector('#answers [data-kind=error]')
  t.match(await newest.textContent(), /^factorize\({"n":"abc"}\)[\d.]+ ms-32602n must be integer$/)
  await page.selectOption('#rpc select', 'time')
  await page.click('#rpc > button')
  await page.waitForSelector('#answers li:nth-child(3)')
  t.match(await newest.textContent(), /^time\(\)[\d.]+ ms\d{4}-\d\d-\d\dT/)
  await page.context().close()
})

t.test('a room: messages, presence, the limit, a lost connection', async (t) => {
  const complaints: string[] = []
  const [ada, bob, eve] = [await open(complaints), await open(complaints), await open(complaints)]
  await join(ada, 'Ada', 'lobby')
  await join(bob, '<b>Bob</b>', 'lobby')
  await join(eve, 'Eve', 'elsewhere')
  t.same(await people(ada, 2), ['<b>Bob</b>', 'Ada'], 'what users type is text')
  t.same(await people(eve, 1), ['Eve'])

  await say(bob, '<img src=x>')
  await ada.waitForSelector('#talk li')
  t.match(await ada.textContent('#talk li'), /^<b>Bob<\/b><img src=x>\d/)
  for (let i = 1; i <= 6; i++) await say(ada, `message ${i}`)
  await ada.waitForSelector('#notice:not(:empty)')
  await ada.waitForSelector('#talk li:nth-child(6)')
  t.match(await ada.textContent('#notice'), /^Not so fast/)
  t.equal(await ada.locator('#talk li').count(), 6, 'the sixth of hers was refused')
  t.equal(await eve.locator('#talk li').count(), 0, 'another room hears nothing')

  await bob.context().close()
  t.same(await people(ada, 1), ['Ada'], 'who closes the page is gone')

  // as text, since the tests are compiled without the DOM's types
  const states = ada.evaluate(`new Promise((resolve) => {
    const seen = []
    new MutationObserver(([{ target }]) => {
      seen.push(target.dataset.state)
      if (target.dataset.state === 'connected') resolve(seen)
    }).observe(document.querySelector('#connection'), { attributeFilter: ['data-state'] })
  })`)
  await ada.evaluate('0') // by now the page is watching
  fastify.ds.disconnectUser('127.0.0.1', { code: 1011, reason: 'trouble' })
  t.same(await states, ['reconnecting', 'connected'], 'the page says so')
  t.same(await people(ada, 1), ['Ada'], 'and she is in the room again')
  t.same(complaints, [])
})

t.test('app: a taken port is said in words', async (t) => {
  const { port } = new URL(url)
  const child = spawn(process.execPath, [script.pathname], { env: { ...process.env, PORT: port }, stdio: ['ignore', 'ignore', 'pipe'] })
  t.teardown(() => { child.kill('SIGKILL') })
  let printed = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => { printed += text })
  const [code] = await once(child, 'close')
  t.equal(code, 1)
  t.equal(printed, `Port ${port} is taken: choose another, as in PORT=${Number(port) + 1} npm start\n`)
})

t.test('app: the server is short', async (t) => {
  t.ok(readFileSync('examples/app.ts', 'utf8').split('\n').length < 150)
})
