import { execFile } from 'node:child_process'
import { readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { CloseCode, RpcCode } from '../lib/protocol/codes.js'
import { resolveOptions } from '../lib/server/config/settings.js'
import { snippetsOf, typeErrors, writeSnippets } from './helpers/snippets.js'

const codes = readFileSync('docs/reference/error-codes.md', 'utf8')
const options = readFileSync('docs/reference/options.md', 'utf8')
const sources = ['lib', 'plugins'].flatMap((folder) => readdirSync(folder, { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.ts'))
  .map((name) => readFileSync(join(folder, name), 'utf8')))

t.test('reference: every code that the source throws has its row', async (t) => {
  const thrown = new Set(sources.flatMap((text) => Array.from(text.matchAll(/(?:(?:DatasoleError|Refusal)\(|\bcode: |, )'([A-Z]+_?[A-Z_]{2,})'(?=[,)} ])/g), ([, code]) => code!)))
  for (const command of ['RPUSH', 'RPC_REQ']) thrown.delete(command)
  const isCode = (name: string): boolean => sources.some((text) => new RegExp(`(?:DatasoleError|Refusal)\\('${name}'|coded\\([^\\n]*'${name}'\\)|code: '${name}'`).test(text))
  const known = [...thrown].filter(isCode)
  t.ok(known.length > 50, `${known.length} codes`)
  for (const code of known) t.ok(codes.includes(`\`${code}\``), code)
  for (const [name, code] of Object.entries(RpcCode)) t.ok(codes.includes(`| ${code} | \`${name}\` |`), name)
  for (const code of Object.values(CloseCode)) t.match(codes, new RegExp(`^\\| [\\d, ]*\\b${code}\\b`, 'm'))
})

t.test('reference: the snippet has the right types', async (t) => {
  const snippets = snippetsOf(codes)
  t.strictSame(typeErrors(writeSnippets(t, 'reference', snippets), snippets.keys()), [])
})

t.test('reference: the options are those of the docstrings, and the code takes them', async (t) => {
  await promisify(execFile)(process.execPath, ['scripts/reference.js', '--check'])
  const server = options.slice(options.indexOf('### DatasoleServerOptions'), options.indexOf('### RateLimitConfig'))
  const names = Array.from(server.matchAll(/^- \*\*`(\w+)`/gm), ([, name]) => name!)
  t.ok(names.length > 30)
  // a wrong value is refused by name, so the option is known
  for (const name of names) t.throws(() => resolveOptions({ [name]: Symbol('wrong') as never }), { message: new RegExp(`option ${name}\\b(?! is not an option)`) }, name)
})
