import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { chromium as playwright } from 'playwright-core'
import { type Need, onPath } from './need.js'

/** The browser of the browser tests; they start it themselves, from the path in `CHROMIUM_PATH`. */
export const chromium: Need = {
  name: 'Chromium',
  variable: 'CHROMIUM_PATH',
  candidates: async () => [
    ...await onPath('chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable'),
    ...await inPlaywrightCache()
  ],
  provides: ['CHROMIUM_PATH'],
  versionArgs: ['--version'],
  debianPackage: 'chromium',
  advice: 'Set CHROMIUM_PATH to a Chromium or Chrome; or put one on the PATH as chromium, chromium-browser or google-chrome; ' +
    'or run "npx playwright-core install chromium"; or, on Debian, run the tests as root: they install it by apt-get.',
  start: async (program) => ({ env: { CHROMIUM_PATH: program }, stop: async () => {} })
}

/** Playwright keeps one browser per revision, in folders such as `chromium-1200/chrome-linux`: any will do. */
async function inPlaywrightCache (): Promise<string[]> {
  const own = playwright.executablePath()
  const [, cache, program] = /^(.*)[/\\]chromium-\d+[/\\](.*)$/.exec(own) ?? []
  if (cache === undefined || program === undefined) return [own]
  const revisions = await readdir(cache).catch(() => []) // there is no cache
  const others = revisions.filter((name) => /^chromium-\d+$/.test(name)).sort().reverse()
  return [own, ...others.flatMap((name) => [join(cache, name, program), join(cache, name, 'chrome-linux', 'chrome')])]
}
