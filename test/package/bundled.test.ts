import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { type Format, build } from 'esbuild'
import t, { type Test } from 'tap'
import { WebSocket } from 'ws'
import { DatasoleClient } from '../../lib/client/client.js'
import { consumer } from './consumer.js'

const { folder } = await consumer(t)
// where nothing but the bundle is there
const elsewhere = await mkdtemp(join(tmpdir(), 'datasole-bundled-'))
t.teardown(() => rm(elsewhere, { recursive: true }))

const executor = "process.argv[2] === undefined ? {} : { executor: { model: 'thread-pool', poolSize: 1, workerScript: process.argv[2] } }"
const failed = '(error) => { console.log(error.code, error.message); process.exit(1) }'
await writeFile(join(folder, 'plain.mjs'), `
  import { createServer } from 'node:http'
  import { attach } from 'datasole/server'
  const http = createServer()
  attach(http, ${executor}).then((ds) => {
    if (process.argv[2] === undefined) ds.rpc.register('add', ({ a, b }) => a + b)
    http.listen(0, () => { console.log(http.address().port) })
  }).catch(${failed})
`)
await writeFile(join(folder, 'fastify.mjs'), `
  import Fastify from 'fastify'
  import datasole from 'datasole'
  const app = Fastify()
  app.register(datasole, ${executor})
  app.after(() => { if (process.argv[2] === undefined) app.ds.rpc.register('add', ({ a, b }) => a + b) })
  app.listen({ port: 0 }).then(() => { console.log(app.server.address().port) }).catch(${failed})
`)
const script = join(folder, 'script.mjs')
await writeFile(script, "export default (ds) => { ds.rpc.register('add', ({ a, b }) => a + b) }")

/** Packages in CommonJS use those, which a bundle that is an ES module has to be given. */
const BANNER = "import { createRequire as requireFrom } from 'node:module'; const require = requireFrom(import.meta.url), __filename = import.meta.filename, __dirname = import.meta.dirname;"

let bundles = 0

async function bundle (server: string, format: Format, to: string, external: string[] = []): Promise<string> {
  const outfile = join(to, `bundle-${bundles++}.${format === 'cjs' ? 'cjs' : 'mjs'}`)
  await build({
    entryPoints: [join(folder, `${server}.mjs`)],
    bundle: true,
    platform: 'node',
    format,
    outfile,
    external: ['ioredis', 'pg', ...external], // drivers that this server does not use
    ...format === 'esm' && { banner: { js: BANNER } },
    logLevel: 'error'
  })
  return outfile
}

/** @returns the first line that the server prints, and all that it logs */
async function start (t: Test, file: string, ...args: string[]): Promise<{ line: string, logged: () => string }> {
  const child: ChildProcess = spawn(process.execPath, [file, ...args], { cwd: elsewhere, stdio: ['ignore', 'pipe', 'pipe'] })
  t.teardown(() => { child.kill('SIGKILL') })
  let logged = ''
  child.stderr!.setEncoding('utf8').on('data', (text: string) => { logged += text })
  const lines: string[] = []
  const reader = createInterface({ input: child.stdout! })
  reader.on('line', (line) => { lines.push(line); if (line.startsWith('{')) logged += line; else reader.emit('said', line) })
  const [line] = await Promise.race([once(reader, 'said'), once(child, 'exit').then(([code]) => { throw new Error(`${file} ended with ${code}: ${logged}`) })]) as [string]
  return { line, logged: () => logged }
}

async function call (t: Test, port: string): Promise<unknown> {
  const client = new DatasoleClient({ url: `http://127.0.0.1:${port}`, webSocket: WebSocket })
  t.teardown(() => client.disconnect())
  await client.connect()
  return await client.rpc('add', { a: 1, b: 2 })
}

for (const server of ['plain', 'fastify']) {
  for (const format of ['cjs', 'esm'] as const) {
    t.test(`${server}, bundled as ${format}`, async (t) => {
      const file = await bundle(server, format, elsewhere)
      const { line, logged } = await start(t, file)
      t.equal(await call(t, line), 3)
      if (server === 'plain') for (const part of ['PACKAGE_FILE_MISSING', '--external:datasole']) t.match(logged(), part, 'it says why it serves no client bundles')

      const { line: failure } = await start(t, file, script)
      t.match(failure, /^PACKAGE_FILE_MISSING .*lib\/executor\/thread\/worker-thread\.js.*--external:datasole/, 'threads need files')
    })

    t.test(`${server}, bundled as ${format} without datasole`, async (t) => {
      const { line, logged } = await start(t, await bundle(server, format, folder, ['datasole']), script)
      t.equal(await call(t, line), 3)
      t.equal((await fetch(`http://127.0.0.1:${line}/__ds/datasole.iife.min.js`)).status, 200)
      t.equal(logged(), '')
    })
  }
}
