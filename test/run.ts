import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, open, readFile, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, relative, resolve, sep } from 'node:path'
import { fileURLToPath } from 'node:url'
import { chromium } from './run/chromium.js'
import { type Counts, describe, isGreen, readCounts } from './run/counts.js'
import { readFailures } from './run/failures.js'
import { faketime } from './run/faketime.js'
import { type Need, type Started, satisfy } from './run/need.js'
import { needsOf } from './run/needs-of.js'
import { nginx } from './run/nginx.js'
import { postgres } from './run/postgres.js'
import { redis } from './run/redis.js'

/**
 * The end of `npm test [-- test/server/auth.test.ts …]`, when everything is compiled: starts what the tests
 * need, runs them, ends it. The last line is `N passed, N failed`. With `--unit` it runs those that start
 * no server, program or thread.
 */
const needs = [chromium, redis, postgres, faketime, nginx]
const limitMs = 2_700_000 // it takes ten minutes on two cores: this ends what hangs
const root = fileURLToPath(new URL('../..', import.meta.url))

/** What starts programs or threads takes its time. */
const slow = ['bindings/react-docs.test.js', 'client/declarations.test.js', 'contract/docs.test.js', 'contract/documents.test.js', 'contract/worker.test.js', 'plugins', 'executor', 'examples', 'package', 'pages', 'pages.test.js', 'readme.test.js', 'docs-site.test.js', 'docstrings.test.js', 'reference.test.js', 'guides.test.js', 'server/close.test.js'].map((name) => join('dist', 'test', name))

/** The imports of a test that starts a server. */
const server = /helpers\/(entrances|nodes|wire|raw|doc-pages)\.js'|from 'fastify'|plugins\/server\.js'/

async function unitTests (files: string[]): Promise<string[]> {
  const quick = files.filter((file) => !slow.some((name) => file.startsWith(name)))
  const isUnit = await Promise.all(quick.map(async (file) => (await allNeeds([file])).length === 0 && !server.test(await readFile(join(root, file), 'utf8'))))
  return quick.filter((_, index) => isUnit[index])
}

async function allNeeds (files: string[]): Promise<Need[]> {
  const within = join(root, 'dist', 'test')
  const found = new Set((await Promise.all(files.map((file) => needsOf(join(root, file), within, needs)))).flat())
  return needs.filter((need) => found.has(need))
}

async function testFiles (named: string[]): Promise<string[]> {
  const all = (await readdir(join(root, 'dist', 'test'), { recursive: true }))
    .filter((file) => file.endsWith('.test.js'))
    .map((file) => join('dist', 'test', file))
    .sort()
  if (named.length === 0) return all
  if (named[0] === '--unit') return await unitTests(all)
  return named.flatMap((name) => {
    const path = relative(root, resolve(name)).replace(/\.ts$/, '.js')
    const compiled = all.filter((file) => [path, join('dist', path)].some((meant) => file === meant || file.startsWith(meant + sep)))
    if (compiled.length === 0) throw new Error(`${name} is not a test: those are the files test/**/*.test.ts, and their folders`)
    return compiled
  })
}

async function runTap (files: string[], env: Record<string, string>): Promise<Counts> {
  const folder = await mkdtemp(join(tmpdir(), 'datasole-test-'))
  const output = await open(join(folder, 'output.tap'), 'w+')
  const program = fileURLToPath(new URL('run/all.js', import.meta.url))
  const tap = spawn(process.execPath, [program, ...files], { cwd: root, stdio: ['ignore', output.fd, 'inherit'], env: { ...process.env, ...env }, timeout: limitMs })
  try {
    const [code, signal] = await once(tap, 'exit')
    if (signal !== null) console.error(`tap was ended by ${signal}; it may take ${limitMs / 1000} s`)
    const results = await readFile(join(folder, 'output.tap'), 'utf8')
    const counts = readCounts(results, code)
    if (!isGreen(counts)) report(results, code)
    return counts
  } finally {
    await output.close()
    await rm(folder, { recursive: true })
  }
}

/** Above the counts: all of what tap says. */
function report (results: string, code: number | null): void {
  const failures = readFailures(results)
  if (failures.length === 0) {
    failures.push(`FAIL tap exited with ${code}, though no test failed; the end of its output:`, results.slice(-2000))
  }
  console.log(`\n${failures.join('\n\n')}\n`)
}

async function run (): Promise<Counts> {
  const started: Started[] = []
  try {
    const files = await testFiles(process.argv.slice(2))
    for (const need of await allNeeds(files)) started.push(await satisfy(need))
    return await runTap(files, Object.assign({}, ...started.map(({ env }) => env)))
  } catch (error) {
    console.error(error instanceof Error ? error.message : error)
    return { passed: 0, failed: 1, skipped: 0 }
  } finally {
    for (const { stop } of started.reverse()) await stop()
  }
}

const counts = await run()
console.log(describe(counts))
process.exit(isGreen(counts) ? 0 : 1) // a server that did not stop must not keep us here: it dies with us
