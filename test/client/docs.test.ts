import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import t from 'tap'
import { WebSocket } from 'ws'
import type { LiveClient } from '../../lib/client/client.js'
import { entrances } from '../helpers/entrances.js'
import { until } from '../helpers/until.js'
import { snippetsOf, typeErrors, writeSnippets } from '../helpers/snippets.js'

const snippets = snippetsOf(readFileSync('docs/client.md', 'utf8'))
const folder = writeSnippets(t, 'client-docs', snippets)
;(globalThis as { WebSocket?: unknown }).WebSocket ??= WebSocket // as in a page

t.test('client docs: the snippets have the right types', async (t) => {
  t.same([...snippets.keys()], ['dashboard.ts', 'small.ts'])
  t.same(typeErrors(folder, snippets.keys()), [])
})

t.test('client docs: the snippets run', async (t) => {
  const startServer = entrances.find(([name]) => name === 'standalone')![1]
  const { ds, origin } = await startServer(t, {
    prepare (ds) {
      ds.rpc.register('add', (params) => { const { a, b } = params as { a: number, b: number }; return a + b })
    }
  })
  await ds.primitives.live.setState('dashboard', { visitors: 1, servers: [{ name: 'a', load: 3 }] })
  const { start } = await import(pathToFileURL(resolve(folder, 'dashboard.js')).href) as { start: (url: string) => Promise<{ client: LiveClient, loads: number[], sum: number }> }
  const { client, loads, sum } = await start(origin)
  t.teardown(() => client.disconnect())
  t.equal(sum, 3)
  await until(() => loads.length === 1)
  await ds.primitives.live.update('dashboard', (dashboard) => { (dashboard as { visitors: number }).visitors++ })
  await ds.primitives.live.update('dashboard', (dashboard) => { (dashboard as { servers: Array<{ load: number }> }).servers[0]!.load = 4 })
  await until(() => loads.length === 2)
  t.strictSame(loads, [3, 4])
  const { board } = await import(pathToFileURL(resolve(folder, 'small.js')).href) as { board: { get (): unknown } }
  t.equal(board.get(), undefined)
})
