import { readFileSync } from 'node:fs'
import type { FastifyInstance } from 'fastify'
import type { Page } from 'playwright-core'
import t from 'tap'
import { Opcode } from '../../../lib/protocol/opcodes.js'
import { writePicture } from '../../helpers/picture.js'
import { inTime, until } from '../../helpers/until.js'
import { startBrowser, visit } from '../../bindings/vite-app.js'
import { HOSTILE, openShop } from './load.js'

/** Set to write the picture of the documentation: a run leaves the tree as it was. */
const screenshot = process.env.WRITE_SCREENSHOTS === undefined ? undefined : 'docs/images/inspector.webp'

const axe = readFileSync('node_modules/axe-core/axe.min.js', 'utf8')
const browser = await startBrowser(t)
const size = { width: 1180, height: 820 }

/** What axe-core finds, by rule and element; WCAG 2.2 A and AA, and best practices. */
async function violations (page: Page): Promise<string[]> {
  if (!await page.evaluate('typeof axe === "object"')) await page.evaluate(axe)
  return await page.evaluate('axe.run().then(({ violations }) => violations.flatMap(({ id, nodes }) => nodes.map(({ html, failureSummary }) => [id, html, failureSummary].join(" "))))')
}

/**
 * Waits for a condition: the page's policy refuses what `waitForFunction` would evaluate there.
 * While an element of it is missing, which gives a TypeError, it does not hold.
 */
async function holds (page: Page, condition: string): Promise<void> {
  const attempt = `(() => { try { return Boolean(${condition}) } catch (error) { if (error instanceof TypeError) return false; throw error } })()`
  try {
    await until(async () => await page.evaluate<boolean>(attempt))
  } catch (error) {
    throw new Error(`${condition}: ${(error as Error).message}; the page has ${await page.textContent('body')}`)
  }
}

/** Waits until an element has this text. */
async function shows (page: Page, selector: string, text: RegExp): Promise<void> {
  await holds(page, `${String(text)}.test(document.querySelector(${JSON.stringify(selector)}).textContent)`)
}

const points = (page: Page): Promise<number> => page.evaluate("document.querySelector('polyline')?.points.numberOfItems ?? 0")

/** Presses a key until a link or button with this text has the focus. */
async function focus (page: Page, text: string): Promise<void> {
  for (let i = 0; i < 60; i++) {
    await page.keyboard.press('Tab')
    if ((await page.evaluate<string>('document.activeElement.textContent')).trim().startsWith(text)) return
  }
  throw new Error(`no ${text} can be reached by keyboard`)
}

t.test('page: it shows the server live, by keyboard, with no markup of others', async (t) => {
  const { url, nodes, wires } = await openShop(t, {})
  const { page, complaints } = await visit(t, browser, `${url}/inspector`, { viewport: size, deviceScaleFactor: screenshot === undefined ? 1 : 1.5, colorScheme: 'light' })
  await page.waitForSelector('#connection[data-state=connected]')
  await holds(page, "document.querySelectorAll('tbody')[0].rows.length === 2")
  await until(async () => await points(page) >= (screenshot === undefined ? 3 : 75), 120_000)
  await shows(page, '.tiles', /Connections12/)
  t.match(await page.getAttribute('svg', 'aria-label'), /^Messages per second in the last two minutes\. in: now [\d.]+/)
  await shows(page, 'main', /2 of 2 nodes answer/)
  const picture = await page.screenshot()
  if (screenshot !== undefined) await writePicture(browser, screenshot, picture)
  t.ok(picture.length > 20_000, `${picture.length} bytes`)
  t.equal(await page.evaluate('getComputedStyle(document.body).backgroundColor'), 'rgb(247, 247, 248)')
  await page.emulateMedia({ colorScheme: 'dark' })
  t.equal(await page.evaluate('getComputedStyle(document.body).backgroundColor'), 'rgb(17, 19, 22)')

  await page.evaluate('document.activeElement.blur()')
  await focus(page, 'Skip to the content')
  await page.keyboard.press('Enter')
  t.equal(await page.evaluate('document.activeElement.id'), 'main')
  await page.evaluate('document.activeElement.blur()')
  await page.reload()
  await focus(page, 'Connections')
  await page.keyboard.press('Enter')
  await holds(page, "document.querySelector('tbody')?.rows.length === 12")
  await shows(page, 'tbody', /<img src=x onerror/) // a name is text
  t.equal(await page.title(), 'Connections · datasole')
  await page.fill('input[type=search]', 'chloe')
  await holds(page, "document.querySelector('tbody')?.rows.length === 1")
  await shows(page, 'caption', /^1 matching connections, of 12$/)
  t.equal(await page.evaluate('location.hash'), '#/connections/filter/chloe')
  await focus(page, 'Age')
  await page.keyboard.press('Enter')
  t.equal(await page.evaluate("document.querySelector('table').querySelectorAll('th[aria-sort]').length"), 1)

  // a deep link to one connection, whose frames run in
  await page.click('tbody a')
  await holds(page, "document.querySelector('.frames tbody')?.rows.length > 4")
  await shows(page, '.frames', /RPC_REQ.*catalog\.search/)
  await shows(page, '.facts', /Userchloe/)
  await shows(page, '.keys', /prices/)
  t.equal(await page.locator('button', { hasText: 'Disconnect' }).count(), 0, 'it is read-only')
  const address = await page.evaluate<string>('location.href')
  await page.reload()
  await holds(page, "document.querySelector('.frames tbody')?.rows.length > 4")
  t.equal(page.url(), address)
  await page.click('button:has-text("Pause")')
  await page.waitForSelector('button:has-text("Pause")[aria-pressed=true]')
  wires[2]!.socket.terminate()
  await holds(page, "document.querySelector('.facts').textContent.includes('ended')")

  await page.click('nav a:has-text("Keys")')
  await holds(page, "document.querySelector('tbody')?.rows.length >= 3")
  await page.click('tbody a:has-text("prices")')
  await holds(page, "document.querySelector('pre').textContent.includes('item-3')")
  await holds(page, "document.querySelector('.patches').children.length > 5")
  await holds(page, "document.querySelector('.frames tbody').textContent.includes('connections')")
  const version = async (): Promise<number> => Number((await page.textContent('.facts'))!.match(/Version([\d,]+)/)![1]!.replaceAll(',', ''))
  const before = await version()
  await until(async () => await version() > before)
  await page.goto(`${url}/inspector/#/keys/root/state/${encodeURIComponent(HOSTILE)}`)
  await holds(page, "document.querySelector('pre').textContent.includes('onerror')")

  await page.click('nav a:has-text("Methods")')
  await holds(page, "document.querySelector('tbody').textContent.includes('order.place')")
  await holds(page, "[...document.querySelectorAll('tbody tr')].some(({ cells }) => cells[0].textContent === 'order.place' && Number(cells[5].textContent) > 0)")
  await shows(page, 'tbody', /profile\.get/) // a method without a call
  t.equal(await page.evaluate('window.hacked'), undefined)
  t.equal(await page.evaluate("document.querySelectorAll('main img, main script').length"), 0)

  // a node that dies, and the one that serves the page
  await nodes[1]!.close()
  await page.click('nav a:has-text("Overview")')
  await holds(page, "document.querySelector('main').textContent.includes('1 of 1 nodes answer')")
  t.strictSame(complaints.filter((text) => !text.startsWith('WebSocket')), [], 'not even a violation of the policy')
  await nodes[0]!.close()
  await page.waitForSelector('#connection[data-state=reconnecting]')
  await page.waitForSelector('main.is-stale')
})

t.test('page: with allowActions it disconnects, edits and deletes', async (t) => {
  const { url, nodes: [node], wires } = await openShop(t, { allowActions: true })
  const { ds } = node as FastifyInstance
  const { page, complaints } = await visit(t, browser, `${url}/inspector/#/connections/filter/bob`, { viewport: size })
  await holds(page, "document.querySelector('tbody')?.rows.length === 1")
  await page.click('tbody a')
  await page.click('button:has-text("Disconnect")')
  await page.click('dialog button:has-text("Cancel")')
  await page.waitForSelector('dialog', { state: 'detached' })
  await page.click('button:has-text("Disconnect")')
  await page.fill('dialog input[name=code]', '4000')
  await page.click('dialog button:has-text("Disconnect")')
  t.match(await inTime(wires[1]!.closed, () => 'the end of the connection'), { code: 4000 })
  await holds(page, "document.querySelector('.facts').textContent.includes('ended')")
  await page.click('a:has-text("← Connections")')
  await holds(page, "[...document.querySelectorAll('tbody')].at(-1).textContent.includes('bob')")

  await ds.primitives.live.setState('flags', { isOpen: true })
  await page.goto(`${url}/inspector/#/keys/root/state/flags`)
  await page.click('button:has-text("Edit")')
  await page.fill('textarea', '{ "isOpen": ')
  await page.click('button:has-text("Save")')
  await holds(page, "document.getElementById('notice').textContent.includes('not JSON')")
  await page.fill('textarea', '{ "isOpen": false }')
  await page.click('button:has-text("Save")')
  await until(async () => (await ds.primitives.live.getState<'flags'>('flags') as { isOpen: boolean }).isOpen === false)
  await page.waitForSelector('textarea', { state: 'hidden' })
  await page.waitForSelector('#notice', { state: 'hidden' })

  await page.click('button:has-text("Edit")')
  await ds.primitives.live.setState('flags', { isOpen: 'changed' })
  await page.fill('textarea', '1')
  await page.click('button:has-text("Save")')
  await holds(page, "document.getElementById('notice').textContent.includes('has changed')")
  t.strictSame(await ds.primitives.live.getState('flags'), { isOpen: 'changed' })
  await page.click('button:has-text("Cancel")')
  await holds(page, "document.querySelector('pre').textContent.includes('changed')")
  await page.click('button:has-text("Delete")')
  await page.click('dialog button:has-text("Delete")')
  await holds(page, "document.querySelector('main').textContent.includes('There is no value.')")
  t.equal(await ds.primitives.live.getState('flags'), undefined)
  t.strictSame(complaints, [])
})

t.test('page: names that are no text of Unicode break nothing', async (t) => {
  const { url, nodes: [node], wires: [ann] } = await openShop(t, {})
  const names = ['half \ud800', `${'a'.repeat(99)}😀`]
  for (const [i, key] of names.entries()) {
    ann!.send(Opcode.SUBSCRIBE, 200 + i, { key })
    await node!.ds.primitives.live.setState(key, i)
  }
  const { page, complaints } = await visit(t, browser, `${url}/inspector/#/connections/filter/ann`, { viewport: size })
  await holds(page, "document.querySelector('tbody')?.rows.length === 1")
  await page.click('tbody a')
  await holds(page, "document.querySelectorAll('.keys li').length === 5")
  await page.click('.keys a:has-text("😀")')
  await holds(page, "document.querySelector('tbody')?.rows.length === 1")
  await page.fill('input[type=search]', '')
  await holds(page, "document.querySelector('tbody').textContent.includes('half')")
  t.strictSame(complaints, [])
})

t.test('page: axe-core finds nothing, in light and in dark', async (t) => {
  const { url } = await openShop(t, { allowActions: true })
  for (const colorScheme of ['light', 'dark'] as const) {
    // the policy of the page would refuse the checker
    const { page } = await visit(t, browser, `${url}/inspector/`, { viewport: size, colorScheme, bypassCSP: true })
    await holds(page, "document.querySelector('tbody')?.rows.length === 2")
    t.strictSame(await violations(page), [], `${colorScheme} overview`)
    for (const view of ['connections', 'keys', 'methods']) {
      await page.click(`nav a[href="#/${view}"]`)
      await holds(page, "document.querySelector('tbody')?.rows.length > 2")
      t.strictSame(await violations(page), [], `${colorScheme} ${view}`)
    }
    await page.goto(`${url}/inspector/#/connections/filter/ann`)
    await holds(page, "document.querySelector('tbody')?.rows.length === 1")
    await page.click('tbody a')
    await holds(page, "document.querySelector('.frames tbody')?.rows.length > 2")
    t.strictSame(await violations(page), [], `${colorScheme} connection`)
    await page.click('button:has-text("Disconnect")')
    t.strictSame(await violations(page), [], `${colorScheme} dialog`)
    await page.goto(`${url}/inspector/#/keys/root/state/prices`)
    await page.reload()
    await holds(page, "document.querySelector('.frames tbody')?.rows.length > 2")
    await page.click('button:has-text("Edit")')
    t.strictSame(await violations(page), [], `${colorScheme} key`)
  }
})

t.test('page: a small screen has no scroll bar of its own', async (t) => {
  const { url } = await openShop(t, {})
  const { page } = await visit(t, browser, `${url}/inspector/`, { viewport: { width: 375, height: 700 } })
  for (const view of ['overview', 'connections', 'keys', 'methods']) {
    await page.goto(`${url}/inspector/#/${view}`)
    await holds(page, "document.querySelector('tbody')?.rows.length > 1")
    t.equal(await page.evaluate('document.documentElement.scrollWidth'), 375, view)
  }
})
