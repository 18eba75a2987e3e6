import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { BUNDLES } from '../plugins/assets.js'
import { resolveOptions } from '../lib/server/config/settings.js'
import { snippetsOf, typeErrors, writeSnippets } from './helpers/snippets.js'

const readme = readFileSync('README.md', 'utf8')
const snippets = snippetsOf(readme)
const folder = writeSnippets(t, 'readme', snippets)

/** Runs a snippet until it is ended; `line` resolves to the first line that it prints and that matches. */
function run (t: Test, name: string, env: Record<string, string>): { line: (pattern: RegExp) => Promise<string>, stop: () => Promise<unknown> } {
  const child: ChildProcess = spawn(process.execPath, [join(folder, name)], { env: { ...process.env, REDIS_URL: process.env.REDIS_URL, ...env }, stdio: ['ignore', 'pipe', 'pipe'] })
  t.teardown(() => { child.kill('SIGKILL') })
  let output = ''
  for (const stream of [child.stdout!, child.stderr!]) stream.setEncoding('utf8').on('data', (text: string) => { output += text; child.emit('printed') })
  return {
    stop: async () => { child.kill('SIGTERM'); return (await once(child, 'exit'))[0] },
    line: (pattern) => new Promise((resolve, reject) => {
      const look = (): void => { if (pattern.test(output)) resolve(pattern.exec(output)![0]) }
      child.on('printed', look)
      child.on('exit', (code) => { reject(new Error(`${name} ended with ${code}: ${output}`)) })
      look()
    })
  }
}

t.test('readme: the snippets have the right types', async (t) => {
  t.same([...snippets.keys()], ['contract.ts', 'fastify.ts', 'plain-http.ts', 'many.ts', 'worker-script.ts', 'threads.ts', 'client.ts', 'shared.ts', 'shared-client.ts'])
  for (const [name, code] of snippets) t.ok(code.trim().split('\n').length <= 22, `${name} is short`)
  t.same(typeErrors(folder, snippets.keys()), [])
})

for (const server of ['fastify.js', 'plain-http.js', 'many.js', 'threads.js']) {
  t.test(`${server} serves the client of the README`, async (t) => {
    const running = run(t, server, { PORT: '0' })
    const printed = await running.line(/port: (\d+)|:(\d+)/)
    const client = run(t, 'client.js', { URL: `http://127.0.0.1:${/\d+/.exec(printed)![0]}` })
    await client.line(/1 \+ 2 = 3/)
    await client.line(/visitors: [1-9]/)
    await client.line(/chat: hello/)
    t.equal(await running.stop(), 0, 'it ends in good order, with a client connected')
  })
}

t.test('readme: the form saves itself, and the likes count', async (t) => {
  const server = run(t, 'shared.js', { PORT: '0' })
  const printed = await server.line(/port: (\d+)/)
  const client = run(t, 'shared-client.js', { URL: `http://127.0.0.1:${/\d+/.exec(printed)![0]}` })
  await Promise.all([client.line(/likes: 2/), client.line(/saved: Ann/), server.line(/save .*\{ name: 'Ann' \}/)])
})

t.test('readme: the table of options is the code\'s', async (t) => {
  const table = readme.slice(readme.indexOf('## Options'), readme.indexOf('## Good to know'))
  const names = Array.from(table.matchAll(/^\| `(\w+)`/gm), ([, name]) => name!)
  t.ok(names.length > 20)
  for (const name of names) {
    // a wrong value is refused by name, so the option is known; what the table leaves out is not
    t.throws(() => resolveOptions({ [name]: Symbol('wrong') as never }), { message: new RegExp(`option ${name}\\b(?! is not an option)`) }, name)
  }
  const source = readFileSync('lib/server/config/server-options.ts', 'utf8')
  const declared = Array.from(source.slice(source.indexOf('interface DatasoleServerOptions')).matchAll(/^ {2}(\w+)\?:/gm), ([, name]) => name!)
  t.same(new Set(names), new Set(declared))
})

t.test('readme: the bundles that it names are served', async (t) => {
  t.ok(readme.includes(`/__ds/${BUNDLES[0]}`))
})
