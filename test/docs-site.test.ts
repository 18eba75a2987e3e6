import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'

const run = promisify(execFile)

t.test('docs: the API pages have every entrance of the package', async (t) => {
  const { exports } = JSON.parse(await readFile('package.json', 'utf8')) as { exports: Record<string, { default?: string }> }
  const { entryPoints } = JSON.parse(await readFile('typedoc.json', 'utf8')) as { entryPoints: string[] }
  // a suite for authors of backends, and a script
  const { './backend-contract': _, './client/worker': __, './package.json': ___, ...documented } = exports
  t.strictSame(entryPoints.slice().sort(), Object.values(documented).map((entrance) => entrance.default!.replace('./dist/', '').replace(/js$/, 'ts')).sort())
})

t.test('docs: the site builds, without a dead link, and llms.txt names every page', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'datasole-docs-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  await run(process.execPath, ['scripts/llms.js'])
  await run(process.execPath, [resolve('node_modules/vitepress/bin/vitepress.js'), 'build', 'docs', '--outDir', folder])
  for (const page of ['index', 'rpc', 'tutorial/index', 'reference/options', 'reference/protocol', 'examples/chat', 'comparison']) t.ok(existsSync(join(folder, `${page}.html`)), page)
  t.match(await readFile(join(folder, 'reference/protocol.html'), 'utf8'), 'RPC_REQ', 'the protocol is part of the site')
  t.match(await readFile(join(folder, 'examples/chat.html'), 'utf8'), 'chatContract', 'and the code of the examples')
  t.match(await readFile(join(folder, 'tutorial/2-dashboard.html'), 'utf8'), 'class="line highlighted"', 'new lines of the tutorial are marked')
  t.match(await readFile(join(folder, 'llms.txt'), 'utf8'), /^# datasole[\s\S]+\]\(\/live-state\): /)
})
