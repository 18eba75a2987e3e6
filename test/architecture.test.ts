import { existsSync, readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'

// from the repository's root: the page is not compiled
const folder = 'lib/server'
const page = readFileSync(join(folder, 'ARCHITECTURE.md'), 'utf8')

t.test('every link of ARCHITECTURE.md leads to a file that has the symbol', async (t) => {
  const links = Array.from(page.matchAll(/\[`?([^`\]]+)`?\]\(([^)]+)\)/g), ([, symbol, path]) => ({ symbol: symbol!, path: path! }))
  t.ok(links.length >= 20, `${links.length} links`)
  for (const { symbol, path } of links) {
    const file = join(folder, path)
    if (!t.ok(existsSync(file), path)) continue
    const declared = new RegExp(`(class|interface|function|const|async|type)? ?\\b${symbol}\\b`, 'i')
    t.match(readFileSync(file, 'utf8'), declared, `${symbol} in ${path}`)
  }
})

t.test('architecture: every folder that it names is there, and every folder is named', async (t) => {
  const named = Array.from(page.slice(page.indexOf('| folder |'), page.indexOf('A folder never')).matchAll(/`(\w+)\/`/g), ([, name]) => name!)
  const there = readdirSync(folder, { withFileTypes: true }).filter((entry) => entry.isDirectory()).map(({ name }) => name)
  t.strictSame(named.sort(), there.sort())
})
