import { readFileSync } from 'node:fs'
import type { FastifyInstance } from 'fastify'
import { type Browser, type Page, chromium } from 'playwright-core'
import t from 'tap'

// not a static import: the examples are a program of their own, with a contract that is not that of the tests
const { app } = await import(new URL('../../examples/app.js', import.meta.url).href) as { app (): Promise<FastifyInstance> }
const FLAGS = ['--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync']

let browser: Browser
let url: string

t.before(async () => {
  const fastify = await app()
  url = await fastify.listen({ port: 0 })
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM_PATH, chromiumSandbox: false, args: FLAGS })
  t.teardown(async () => {
    await browser.close()
    await fastify.close()
  })
})

async function open (complaints: string[]): Promise<Page> {
  const page = await (await browser.newContext()).newPage()
  page.on('console', (message) => { if (['error', 'warning'].includes(message.type())) complaints.push(message.text()) })
  page.on('pageerror', (error) => { complaints.push(error.message) })
  await page.goto(url)
  await page.waitForSelector('#connection[data-state=connected]')
  return page
}

t.test('live state, calls and a chat between two pages', async (t) => {
  const complaints: string[] = []
  const page = await open(complaints)

  // the charts draw, and go on drawing
  await page.waitForSelector('#cores .core:first-child path.line[d*=L]', { state: 'attached' })
  const drawn = await page.getAttribute('#memory-chart path.line', 'd')
  await page.waitForSelector(`#memory-chart path.line:not([d="${drawn}"])`, { state: 'attached' })
  t.match(await page.textContent('#memory'), /of \d+ GiB/)

  await page.click('#rpc button')
  await page.waitForSelector('#answer[data-kind=result]')
  t.match(await page.textContent('#answer'), '71 × 839 × 1471 × 6857')
  await page.fill('#rpc [name=argument]', 'abc')
  await page.click('#rpc button')
  await page.waitForSelector('#answer[data-kind=error]')
  t.match(await page.textContent('#answer'), /-32602: n must be integer/)

  const other = await open(complaints)
  for (const [each, name] of [[page, 'Ada'], [other, '<b>Bob</b>']] as const) {
    await each.fill('#join [name=name]', name)
    await each.click('#join button')
    await each.waitForSelector('#say:not([hidden])')
  }
  await page.waitForSelector('#people li:nth-child(2)')
  t.same((await page.locator('#people li').allTextContents()).sort(), ['<b>Bob</b>', 'Ada'], 'who is here, as text')

  await other.fill('#say [name=text]', '<img src=x>')
  await other.click('#say button')
  await page.waitForSelector('#messages-list li')
  t.equal(await page.textContent('#messages-list li'), '<b>Bob</b><img src=x>')

  for (let i = 0; i < 6; i++) {
    await page.fill('#say [name=text]', `message ${i}`)
    await page.click('#say button')
  }
  await page.waitForSelector('#notice:not([hidden])')
  t.match(await page.textContent('#notice'), /Not so fast/)

  await other.context().close()
  await page.waitForSelector('#people:not(:has(li:nth-child(2)))')
  t.same(complaints, [], 'nothing to complain of, and no policy broken')
})

t.test('the server is short', async (t) => {
  t.ok(readFileSync('examples/app.ts', 'utf8').split('\n').length < 150)
})
