import { readFileSync, readdirSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import t from 'tap'
import { entrances } from '../helpers/entrances.js'
import { snippetsOf, typeErrors, writeSnippets } from '../helpers/snippets.js'

const page = readFileSync('docs/react.md', 'utf8')
const snippets = new Map([...snippetsOf(page), ...snippetsOf(page, 'tsx')])
const folder = writeSnippets(t, 'react-docs', snippets)

t.test('react docs: the snippets have the right types', async (t) => {
  t.strictSame([...snippets.keys()], ['contract.ts', 'hooks.tsx', 'app.tsx', 'notes.tsx', 'render.tsx'])
  t.strictSame(typeErrors(folder, snippets.keys(), true), [])
})

t.test('react docs: the page that a server renders has the value and its position', async (t) => {
  const startServer = entrances.find(([name]) => name === 'standalone')![1]
  const { ds } = await startServer(t)
  await ds.primitives.live.setState('dashboard', { visitors: 7 })
  const { render } = await import(pathToFileURL(resolve(folder, 'render.js')).href) as { render: (server: typeof ds) => Promise<string> }
  const { epoch } = await ds.primitives.live.getSnapshot('dashboard')
  t.equal(await render(ds), `<div id="root"><p>7<!-- --> visitors</p></div><script>window.initial = {"dashboard":{"epoch":"${epoch}","version":1,"value":{"visitors":7}}}</script>`)
})

t.test('react docs: every hook and every property of the Provider is there', async (t) => {
  const source = readdirSync('lib/bindings/react').map((name) => readFileSync(join('lib/bindings/react', name), 'utf8')).join('\n')
  const hooks = Array.from(source.slice(source.indexOf('export interface Hooks')).matchAll(/^ {2}(use\w+): /gm), ([, name]) => name!)
  t.equal(hooks.length, 8)
  for (const hook of hooks) t.ok(page.includes(`| \`${hook}(`), hook)
  const properties = Array.from(source.slice(source.indexOf('interface CommonProps'), source.indexOf('export interface Scope')).matchAll(/(?:^ {2}|\{ )(\w+)\??: /gm), ([, name]) => name!)
  t.strictSame([...new Set(properties)].sort(), ['children', 'client', 'initial', 'keepMs'])
  for (const property of ['client', 'options', 'initial', 'keepMs']) t.ok(page.includes(`| \`${property}\` |`), property)
})
