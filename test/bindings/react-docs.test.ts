import { mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import t from 'tap'
import ts from 'typescript'
import { entrances } from '../helpers/entrances.js'

// inside the repository the package finds itself by its own name
const folder = join('dist', 'react-docs')
const page = readFileSync('docs/react.md', 'utf8')
const contract = /```ts\n\/\/ contract\.ts\n([\s\S]+?)```/.exec(readFileSync('README.md', 'utf8'))![1]!
const snippets = new Map([['contract.ts', contract], ...Array.from(page.matchAll(/```tsx\n\/\/ (\S+)\n([\s\S]+?)```/g), ([, name, code]) => [name!, code!] as const)])
const options = { target: ts.ScriptTarget.ES2023, jsx: ts.JsxEmit.ReactJSX }

t.before(() => {
  mkdirSync(folder, { recursive: true })
  for (const [name, code] of snippets) {
    writeFileSync(join(folder, name), code)
    const { outputText } = ts.transpileModule(code, { fileName: name, compilerOptions: { ...options, module: ts.ModuleKind.ESNext } })
    writeFileSync(join(folder, name.replace(/tsx?$/, 'js')), outputText)
  }
})
t.teardown(() => { rmSync(folder, { recursive: true, force: true }) })

t.test('react docs: the snippets have the right types', async (t) => {
  t.strictSame([...snippets.keys()], ['contract.ts', 'hooks.tsx', 'app.tsx', 'notes.tsx', 'render.tsx'])
  const program = ts.createProgram(Array.from(snippets.keys(), (name) => join(folder, name)), {
    ...options,
    lib: ['lib.es2023.d.ts', 'lib.dom.d.ts'],
    module: ts.ModuleKind.NodeNext,
    moduleResolution: ts.ModuleResolutionKind.NodeNext,
    strict: true,
    noEmit: true,
    skipLibCheck: true,
    types: ['node']
  })
  t.strictSame(ts.getPreEmitDiagnostics(program).map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, '\n')), [])
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
