import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import t from 'tap'
import { resolveOptions as resolveClientOptions } from '../lib/client/client-options.js'
import { PostgresBackend } from '../lib/backend/postgres/postgres.js'
import { RedisBackend } from '../lib/backend/redis/redis.js'
import { resolveOptions } from '../lib/server/config/settings.js'

// from the repository's root: the documents are not compiled
const documents = Object.fromEntries(['limits', 'security'].map((name) => [name, readFileSync(`docs/${name}.md`, 'utf8')])) as Record<'limits' | 'security', string>

/** The rows of a text's tables, as cells. */
function rows (text: string): string[][] {
  return text.split('\n')
    .filter((line) => line.startsWith('|') && !/^\|(---|.*\| options? \|)/i.test(line))
    .map((line) => line.split('|').slice(1, -1).map((cell) => cell.trim()))
}

const quoted = (cell: string): string[] => Array.from(cell.matchAll(/`([^`]+)`/g), ([, name]) => name!)

/** What is said of a value that is wrong; an unknown option is told by it. */
function complaint (name: string): string {
  const [owner, option] = name.includes('.') ? name.split('.') as [string, string] : ['server', name]
  const options = { [option]: Symbol('wrong') } as never
  try {
    if (owner === 'client') resolveClientOptions(option === 'auth' ? { auth: { token: Symbol('wrong') } } as never : options)
    else if (owner === 'redis') void new RedisBackend(options)
    else if (owner === 'postgres') void new PostgresBackend(options)
    else if (owner === 'server') resolveOptions(options)
  } catch (error) {
    return (error as Error).message
  }
  return 'nothing'
}

const isKnown = (name: string): boolean => {
  const message = complaint(name)
  return message.includes(name.split('.').at(-1)!) && !message.includes('is not an option')
}

t.test('docs: an unknown option is told from a known one', async (t) => {
  for (const name of ['maxTags', 'client.getToken', 'client.auth', 'redis.keyPrefix', 'postgres.tableName']) t.ok(isKnown(name), name)
  for (const name of ['maxTag', 'client.maxTags', 'redis.tableName', 'postgres.keyPrefix', 'other.path']) t.notOk(isKnown(name), name)
})

t.test('security: every threat names tests that are there and options that exist', async (t) => {
  const threats = documents.security.split(/^### /m).slice(1)
  t.ok(threats.length >= 38, `${threats.length} threats`)
  for (const text of threats) {
    const [threat] = text.split('\n') as [string]
    const [, options, tests] = /^- Options: (.+)\n- Tests: ((?:.+\n)+)/m.exec(text) ?? [] as string[]
    if (options === undefined || tests === undefined) {
      t.fail(`${threat} names its options and tests`)
      continue
    }
    t.ok(quoted(tests).length > 0, `${threat} is tested`)
    for (const path of quoted(tests)) t.ok(/^test\/.+\.test\.ts$/.test(path) && existsSync(path), path)
    for (const name of quoted(options)) t.ok(isKnown(name), `${threat}: ${name}`)
  }
})

t.test('limits: every number among the options is there, with its default', async (t) => {
  const server = rows(documents.limits.slice(0, documents.limits.indexOf('## Backends')))
  const settings = resolveOptions({}) as unknown as Record<string, unknown>
  const bounds = Object.keys(settings).filter((name) => typeof settings[name] === 'number' && name !== 'compressionThreshold')
  t.ok(bounds.length >= 17)
  for (const name of bounds) {
    const [, preset] = server.find(([, , , option]) => option === `\`${name}\``) ?? []
    t.equal(bytes(preset ?? 'missing'), settings[name], `${name}: ${preset}`)
  }
  for (const [bound, , , option] of server) for (const name of quoted(option!)) if (name !== '$subscribe') t.ok(isKnown(name), `${bound}: ${name}`)
  for (const cells of rows(documents.limits)) t.equal(cells.length, 4, cells[0])
})

/** A default as it is written: `10,000`, `10,000 ms`, `16 MiB`, `unlimited`. */
function bytes (text: string): number {
  if (text === 'unlimited') return Infinity
  const [, digits, unit] = /^([\d,]+)(?: (KiB|MiB|ms))?$/.exec(text) ?? []
  return Number(digits?.replaceAll(',', '')) * (unit === 'KiB' ? 1024 : unit === 'MiB' ? 1024 * 1024 : 1)
}

t.test('docs: links lead somewhere', async (t) => {
  for (const [path, text] of [['README.md', readFileSync('README.md', 'utf8')], ...Object.entries(documents).map(([name, text]) => [`docs/${name}.md`, text])] as Array<[string, string]>) {
    const links = Array.from(text.matchAll(/\]\(([^)#]+)\)/g), ([, target]) => target!).filter((target) => !target.includes('://'))
    t.ok(links.length > 0, path)
    for (const link of links) t.ok(existsSync(join(dirname(path), link)), `${path}: ${link}`)
  }
})
