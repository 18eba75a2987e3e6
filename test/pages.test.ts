import { existsSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import t from 'tap'
import { parseAllDocuments } from 'yaml'
import { blocksOf, pages, sourcesOf } from './helpers/doc-pages.js'
import { typeErrors, writeSnippets } from './helpers/snippets.js'

/** Packages that are too large to install for a page: no more than the page uses of them. */
const shims: Record<string, string> = {
  'next.d.ts': `declare module 'next' {
  import type { IncomingMessage, ServerResponse } from 'node:http'
  export default function next (options: { dev: boolean }): { prepare (): Promise<void>, getRequestHandler (): (req: IncomingMessage, res: ServerResponse) => Promise<void> }
}`,
  'vitest.d.ts': `declare module 'vitest' {
  export function test (name: string, run: () => Promise<void>): void
  export function expect (value: unknown): { toBe (other: unknown): void }
  export function beforeAll (run: () => Promise<void>): void
  export function afterAll (run: () => Promise<void>): void
}`
}

const headings = (path: string): string[] => Array.from(readFileSync(path, 'utf8').matchAll(/^#+ (.+)$/gm), ([, title]) =>
  title!.toLowerCase().replace(/[^\p{L}\p{N} _-]/gu, '').replaceAll(' ', '-'))

t.setTimeout(480_000) // it compiles every page

t.test('pages: each starts with a title, and its links lead somewhere', async (t) => {
  t.ok(pages.length >= 21, `${pages.length} pages`)
  for (const path of pages) {
    const text = readFileSync(path, 'utf8')
    t.match(text, /^# \S/, path)
    const targets = Array.from(text.matchAll(/\]\(([^)]+)\)/g), ([, target]) => target!).filter((target) => !target.includes('://'))
    t.ok(targets.length > 0, `${path} links to another`)
    for (const target of targets) {
      const [file, fragment] = target.split('#') as [string, string | undefined]
      const linked = file === '' ? path : join(dirname(path), file!)
      t.ok(existsSync(linked), `${path}: ${target}`)
      if (fragment !== undefined) t.ok(headings(linked).includes(fragment), `${path}: ${target}`)
    }
  }
})

t.test('pages: lines and cells are short', async (t) => {
  const names = readdirSync('docs', { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.md') && !/^(api|\.vitepress)\b/.test(name))
  t.ok(names.length >= 60, `${names.length} pages`)
  for (const path of names.map((name) => join('docs', name))) {
    const text = readFileSync(path, 'utf8')
    // a command is one line, and a key of the reference stands with its type
    const lines = (pages.includes(path) ? text : text.replace(/^```[^]*?^```$/gm, '')).split('\n')
    t.strictSame(lines.filter((line) => line.length > 120 && !line.startsWith('|') && !line.startsWith('- **`')), [], path)
    t.strictSame(lines.filter((line) => line.startsWith('|')).flatMap((line) => line.split('|')).filter((cell) => cell.trim().length > 120), [], path)
  }
})

t.test('pages: every snippet names its file', async (t) => {
  for (const path of pages) {
    for (const { language, file, code } of blocksOf(path)) {
      t.not(language, '', `${path}: a language for ${code.slice(0, 40)}`)
      if (language !== 'sh' && language !== 'json') t.ok(file, `${path}: a name for ${code.slice(0, 40)}`)
    }
  }
})

/** Pages whose diffs start from packages that are installed here. */
const checkedBefore = ['docs/from/socket-io.md', 'docs/from/ws.md', 'docs/from/datasole-1.md']

t.test('pages: every snippet has the right types, as have both sides of a diff', async (t) => {
  t.setTimeout(480_000)
  const files: string[] = []
  const write = (name: string, sources: ReadonlyMap<string, string>): void => {
    writeSnippets(t, `pages/${name}`, sources)
    files.push(...[...sources.keys()].filter((file) => /tsx?$/.test(file)).map((file) => `${name}/${file}`))
  }
  for (const path of pages) {
    const name = path.replaceAll(/\W/g, '-')
    write(name, sourcesOf(path))
    if (checkedBefore.includes(path)) write(`${name}-before`, sourcesOf(path, '-'))
  }
  for (const [file, code] of Object.entries(shims)) {
    writeFileSync(`dist/pages/${file}`, code)
    files.push(file)
  }
  t.teardown(() => { rmSync('dist/pages', { recursive: true, force: true }) })
  t.ok(files.length >= 40, `${files.length} files`)
  t.strictSame(typeErrors('dist/pages', files, true), [])
})

t.test('pages: YAML is YAML', async (t) => {
  const blocks = pages.flatMap((path) => blocksOf(path).filter(({ language }) => language === 'yaml').map((block) => ({ path, ...block })))
  t.ok(blocks.length >= 2)
  for (const { path, file, code } of blocks) {
    for (const document of parseAllDocuments(code)) {
      t.strictSame(document.errors.map(String), [], `${path}: ${file}`)
      t.strictSame(document.warnings.map(String), [], `${path}: ${file}`)
    }
  }
})
