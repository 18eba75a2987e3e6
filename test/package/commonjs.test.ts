import { readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { consumer } from './consumer.js'

const { folder, installed, node } = await consumer(t)

// a loader that cannot require ES modules, such as Jest's, takes the condition `require`; so does Node.js with this
const cannotRequireModules = '--no-experimental-require-module'

const names = ['datasole', 'datasole/server', 'datasole/client', 'datasole/client/yjs', 'datasole/client/yjs-awareness', 'datasole/backend-contract', 'datasole/package.json']
const keys = "(module) => Object.keys(module).filter((key) => key !== '__esModule' && key !== 'module.exports').sort()"

t.test('commonjs: import and require find every entry, with the same exports', async (t) => {
  const required = `console.log(JSON.stringify(${JSON.stringify(names)}.map((name) => (${keys})(require(name)))))`
  const imported = `console.log(JSON.stringify(await Promise.all(${JSON.stringify(names.slice(0, -1))}.map(async (name) => (${keys})(await import(name))))))`
  const expected = JSON.parse(await node('--input-type=module', '--eval', imported)) as string[][]
  t.match(expected[0], ['Datasole', 'DatasoleError', 'RpcError', 'default'])
  for (const flags of [[], [cannotRequireModules]]) {
    const found = JSON.parse(await node(...flags, '--input-type=commonjs', '--eval', required)) as string[][]
    t.strictSame(found.slice(0, -1), expected, flags.join())
    t.ok(found.at(-1)!.includes('version'))
  }
  t.equal(await node('--input-type=module', '--eval', "console.log(import.meta.resolve('datasole/client/worker').split('/').at(-1))"), 'worker.js')
})

t.test('commonjs: a process has one copy, whether it imports or requires', async (t) => {
  await writeFile(join(folder, 'one.mjs'), `
    import { createRequire } from 'node:module'
    import * as imported from 'datasole/server'
    const required = createRequire(import.meta.url)('datasole/server')
    console.log(required.DatasoleError === imported.DatasoleError)
  `)
  t.equal(await node('one.mjs'), 'true')
})

for (const flags of [[], [cannotRequireModules]]) {
  t.test(`a server and a client in CommonJS, with threads ${flags.join()}`, async (t) => {
    await writeFile(join(folder, 'script.cjs'), "module.exports = (ds) => { ds.rpc.register('add', ({ a, b }) => a + b) }")
    await writeFile(join(folder, 'main.cjs'), `
      const Fastify = require('fastify')
      const { WebSocket } = require('ws')
      const datasole = require('datasole')
      const { DatasoleError } = require('datasole/server')
      const { DatasoleClient } = require('datasole/client')
      async function main () {
        const app = Fastify()
        await app.register(datasole, { executor: { model: 'thread-pool', poolSize: 1, workerScript: 'script.cjs' } })
        const url = await app.listen({ port: 0 })
        const client = new DatasoleClient({ url, webSocket: WebSocket })
        await client.connect()
        const { status } = await fetch(url + '/__ds/datasole.iife.min.js')
        console.log(await client.rpc('add', { a: 1, b: 2 }), status, datasole.DatasoleError === DatasoleError, datasole.default[Symbol.for('skip-override')])
        await client.disconnect()
        await app.close()
      }
      main()
    `)
    t.equal(await node(...flags, 'main.cjs'), '3 200 true true')
  })
}

t.test('commonjs: drivers are required when they are needed: such loaders have no import() either', async (t) => {
  const cjs = join(installed, 'dist/cjs')
  const modules = (await readdir(cjs, { recursive: true })).filter((name) => name.endsWith('.js'))
  t.ok(modules.length > 90)
  const texts = await Promise.all(modules.map(async (name) => await readFile(join(cjs, name), 'utf8')))
  t.strictSame(modules.filter((_, index) => /\bimport\(|import\.meta|^(import|export) /m.test(texts[index]!)), [])
  t.equal(await node(cannotRequireModules, '--input-type=commonjs', '--eval', `
    const { RedisBackend, PostgresBackend } = require('datasole/server')
    const codes = [new RedisBackend({ url: 'redis://127.0.0.1:1', connectTimeoutMs: 50 }), new PostgresBackend({ connectionString: 'postgres://127.0.0.1:1/x', connectTimeoutMs: 50 })]
      .map((backend) => backend.connect().then(() => 'connected', ({ code, message }) => code === 'DRIVER_MISSING' ? message : 'tried').finally(() => backend.close()))
    Promise.all(codes).then((all) => { console.log(all.join()) })
  `), 'tried,tried')
})
