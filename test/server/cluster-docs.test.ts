import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import t from 'tap'
import { snippetsOf, typeErrors, writeSnippets } from '../helpers/snippets.js'
import { node } from '../helpers/nodes.js'

const snippets = snippetsOf(readFileSync('docs/cluster.md', 'utf8'))
const folder = writeSnippets(t, 'cluster-docs', snippets)

t.test('cluster docs: the snippet has the right types, and runs', async (t) => {
  t.strictSame([...snippets.keys()], ['operations.ts'])
  t.strictSame(typeErrors(folder, snippets.keys()), [])
  const { ds, connect } = await node(t)
  const wire = await connect()
  const { lockOut, processes } = await import(pathToFileURL(resolve(folder, 'operations.js')).href) as { lockOut: (server: typeof ds, userId: string) => Promise<object>, processes: (server: typeof ds) => string[] }
  t.match(await lockOut(ds, '127.0.0.1'), { count: 1, missing: [], addresses: ['127.0.0.1'] })
  t.match(await wire.closed, { code: 4401, reason: 'your account is locked' })
  t.match(processes(ds)[0], `:${process.pid}`)
})
