import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { type Browser, type Page, chromium } from 'playwright-core'
import t from 'tap'

const FLAGS = ['--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync']

let browser: Browser
let url: string

t.before(async () => {
  const child = spawn(process.execPath, [fileURLToPath(new URL('../../examples/editor.js', import.meta.url))], { env: { ...process.env, PORT: '0' }, stdio: ['ignore', 'pipe', 'inherit'] })
  t.teardown(() => { child.kill('SIGKILL') })
  let printed = ''
  for await (const text of child.stdout.setEncoding('utf8')) {
    printed += text
    const found = /Open (\S+)/.exec(printed)
    if (found === null) continue
    url = found[1]!
    break
  }
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM_PATH, chromiumSandbox: false, args: FLAGS })
})
t.teardown(() => browser?.close())

async function open (complaints: string[]): Promise<Page> {
  const page = await (await browser.newContext()).newPage()
  page.on('pageerror', (error) => { complaints.push(error.message) })
  await page.goto(url)
  await page.waitForSelector('textarea:enabled')
  return page
}

async function shows (page: Page, text: string): Promise<void> {
  await page.waitForFunction(`document.querySelector('textarea').value === ${JSON.stringify(text)}`)
}

async function type (page: Page, at: 'Home' | 'End', text: string): Promise<void> {
  await page.press('textarea', `Control+${at}`)
  await page.locator('textarea').pressSequentially(text)
}

t.test('editor: two browsers edit one text, at once and offline', async (t) => {
  const complaints: string[] = []
  const [ann, bob] = [await open(complaints), await open(complaints)]
  for (const page of [ann, bob]) await page.waitForFunction("document.querySelector('#people').textContent.split(', ').length === 2")

  await type(ann, 'End', 'middle')
  await shows(bob, 'middle')
  // the one goes on at the beginning, the other at the end, and neither's cursor is moved away
  await Promise.all([type(ann, 'End', ' and the end 😀'), type(bob, 'Home', 'the beginning, ')])
  await Promise.all([ann, bob].map((page) => shows(page, 'the beginning, middle and the end 😀')))

  await bob.context().setOffline(true)
  await type(bob, 'End', '. Typed without a network')
  await type(ann, 'Home', 'Meanwhile: ')
  await ann.press('textarea', 'Control+End')
  await ann.press('textarea', 'Backspace')
  await ann.locator('textarea').pressSequentially('😁')
  t.equal(await bob.inputValue('textarea'), 'the beginning, middle and the end 😀. Typed without a network', 'it is seen at once')
  t.equal(await ann.inputValue('textarea'), 'Meanwhile: the beginning, middle and the end 😁')
  await bob.context().setOffline(false)
  // where both wrote in one place, either may come first
  const [one, other] = await Promise.all([ann, bob].map(async (page) => {
    await page.waitForFunction("/^Meanwhile: (?=.*network)(?=.*😁)/u.test(document.querySelector('textarea').value)")
    return await page.inputValue('textarea')
  }))
  t.match(one, /^Meanwhile: the beginning, middle and the end (😁\. Typed without a network|\. Typed without a network😁)$/u)
  t.equal(other, one)

  const late = await open(complaints)
  await shows(late, one!)
  await bob.context().close()
  await ann.waitForFunction("document.querySelector('#people').textContent.split(', ').length === 2")
  t.strictSame(complaints, [])
})
