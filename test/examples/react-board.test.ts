import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { Page } from 'playwright-core'
import t from 'tap'
import { writePicture } from '../helpers/picture.js'
import { inTime } from '../helpers/until.js'
import { startBrowser, visit } from '../bindings/vite-app.js'

/** Set to write the picture of the documentation: a run leaves the tree as it was. */
const screenshot = process.env.WRITE_SCREENSHOTS === undefined ? undefined : 'docs/images/react-board.webp'

const child = spawn(process.execPath, [fileURLToPath(new URL('../../examples/react-board.js', import.meta.url))], { env: { ...process.env, PORT: '0' }, stdio: ['ignore', 'pipe', 'pipe'] })
t.teardown(() => { child.kill('SIGKILL') })
let output = ''
for (const stream of [child.stdout, child.stderr]) {
  stream.setEncoding('utf8').on('data', (text: string) => {
    output += text
    child.emit('printed')
  })
}
const url = await inTime(new Promise<string>((resolve) => {
  child.on('printed', () => {
    const found = /Open (\S+)/.exec(output)
    if (found !== null) resolve(found[1]!)
  })
}), () => `the address; it printed ${output}`)
const browser = await startBrowser(t)

const column = (page: Page, name: string): ReturnType<Page['locator']> => page.locator(`section[aria-label=${name}] li`)

async function count (page: Page, name: string, cards: number): Promise<void> {
  await page.waitForFunction(`document.querySelectorAll('section[aria-label=${name}] li').length === ${cards}`)
}

t.test('react-board: two browsers share cards and cursors', async (t) => {
  const [ann, bob] = [
    await visit(t, browser, url, { viewport: { width: 1040, height: 560 }, deviceScaleFactor: 2 }),
    await visit(t, browser, url, { viewport: { width: 1040, height: 560 } })
  ]
  for (const { page } of [ann, bob]) await page.waitForFunction("document.querySelectorAll('.people li').length === 2")
  await count(ann.page, 'Ideas', 2)

  await ann.page.fill('section[aria-label=Doing] input', 'Write the talk')
  await ann.page.press('section[aria-label=Doing] input', 'Enter')
  await count(bob.page, 'Doing', 2)
  await column(bob.page, 'Doing').last().focus()
  await bob.page.keyboard.press('ArrowRight')
  await count(ann.page, 'Done', 2)
  await column(ann.page, 'Ideas').first().dragTo(column(ann.page, 'Done').last())
  await count(bob.page, 'Done', 3)
  t.match(await column(bob.page, 'Done').nth(1).textContent(), /^Drag a card/, 'it comes before the card that it was dropped on')

  // a change without a network is kept, and made again on what others did
  await bob.page.context().setOffline(true)
  await column(bob.page, 'Doing').first().focus()
  await bob.page.keyboard.press('ArrowLeft')
  await count(bob.page, 'Ideas', 2)
  await ann.page.fill('section[aria-label=Ideas] input', 'Draw the architecture')
  await ann.page.press('section[aria-label=Ideas] input', 'Enter')
  await bob.page.context().setOffline(false)
  for (const { page } of [ann, bob]) await count(page, 'Ideas', 3)

  await bob.page.mouse.move(620, 330)
  await ann.page.waitForSelector('.cursor')
  t.match(await ann.page.textContent('.cursor'), /^[A-Z][a-z]+$/)
  bob.page.once('dialog', (dialog) => { void dialog.accept('Zoe') })
  await bob.page.click('.people button')
  await ann.page.waitForFunction("document.querySelector('.cursor')?.textContent === 'Zoe'")

  await ann.page.fill('section[aria-label=Doing] input', 'Measure it on a phone')
  await ann.page.press('section[aria-label=Doing] input', 'Enter')
  await ann.page.fill('section[aria-label=Doing] input', 'Answer the reviewers')
  await ann.page.press('section[aria-label=Doing] input', 'Enter')
  await count(bob.page, 'Doing', 2)
  await ann.page.mouse.move(5, 5)
  await ann.page.evaluate('document.activeElement.blur()')
  const picture = await ann.page.screenshot()
  if (screenshot !== undefined) await writePicture(browser, screenshot, picture)
  t.ok(picture.length > 20_000, `${picture.length} bytes`)
  await ann.page.emulateMedia({ colorScheme: 'dark' })
  t.equal(await ann.page.evaluate('getComputedStyle(document.body).backgroundColor'), 'rgb(19, 18, 17)')

  await bob.page.context().close()
  await ann.page.waitForFunction("document.querySelectorAll('.people li').length === 1")
  await ann.page.waitForSelector('.cursor', { state: 'detached' })
  t.strictSame([...ann.complaints, ...bob.complaints], [])
})

t.test('react-board: SIGTERM ends it in good order', async (t) => {
  child.kill('SIGTERM')
  t.strictSame(await inTime(once(child, 'close'), () => 'its end'), [0, null])
})
