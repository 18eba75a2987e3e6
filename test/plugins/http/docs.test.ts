import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { AddressInfo } from 'node:net'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import { WebSocket } from 'ws'
import { DatasoleClient } from '../../../lib/client/client.js'
import { RpcCode } from '../../../lib/protocol/codes.js'
import { STATUS_OF_RPC } from '../../../lib/server/http/http-refusal.js'
import type { DatasoleServer } from '../../../plugins/server.js'
import { snippetsOf, typeErrors, writeSnippets } from '../../helpers/snippets.js'
import { until } from '../../helpers/until.js'

const page = readFileSync('docs/http.md', 'utf8')
const snippets = snippetsOf(page)
const folder = writeSnippets(t, 'http-docs', new Map(Array.from(snippets, ([name, code]) => {
  const exported = ['fastify', 'ds'].filter((variable) => code.includes(`const ${variable} =`))
  return [name, `${code}\n${exported.length > 0 ? `export { ${exported.join(', ')} }\n` : ''}`]
})))
const load = async <T>(name: string): Promise<T> => await import(pathToFileURL(resolve(folder, name)).href) as T

/** The commands of the page, each with what it prints. */
const sessions = Array.from(page.matchAll(/```console\n\$ (curl .+)\n([\s\S]*?)```/g), ([, command, output]) => ({ command: command!, output: output!.trimEnd() }))

/** A pattern for what is printed: `3f2a…` is the epoch of a key, and `…` is anything. */
function patternOf (output: string): RegExp {
  return new RegExp(`^${output.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&').replaceAll(/(?:3f2a)?…/g, '[\\w-]+')}`)
}

/** The lines of a response that the page shows: status, named headers, and the body. */
function shown (printed: string, output: string): string {
  if (!output.startsWith('HTTP/')) return printed
  const [head = '', body = ''] = printed.replaceAll('\r', '').split('\n\n')
  const names = output.split('\n\n')[0]!.split('\n').slice(1).map((line) => line.split(':')[0]!)
  const [status, ...headers] = head.split('\n')
  const kept = names.map((name) => headers.find((line) => line.toLowerCase().startsWith(`${name}:`)) ?? `${name} is missing`)
  return [status, ...kept, ...body === '' ? [] : ['', body]].join('\n')
}

t.test('docs: links, tables and commands', async (t) => {
  for (const [, link] of page.matchAll(/\]\(([^)#]+)(?:#[^)]*)?\)/g)) if (!link!.includes('://')) t.ok(existsSync(join('docs', link!)), link)
  const table = Array.from(page.matchAll(/^\| (-\d+) `(\w+)` \| (\d+) \|$/gm), ([, code, name, status]) => [name, Number(code), Number(status)])
  t.strictSame(table, Object.entries(RpcCode).map(([name, code]) => [name, code, STATUS_OF_RPC[code]]))
  for (const [, header] of page.matchAll(/^\| `(allow\w+|max\w+|read\w+)` \|/gm)) t.match(readFileSync('plugins/http.ts', 'utf8'), new RegExp(`\\b${header!}\\?:`))
  t.equal(sessions.length, page.match(/\$ curl/g)!.length)
  for (const cell of page.split('\n').filter((line) => line.startsWith('|')).flatMap((line) => line.split('|'))) t.ok(cell.length <= 120, cell)
})

t.test('docs: the snippets have the right types', async (t) => {
  t.same([...snippets.keys()], ['http-server.ts', 'http-plain.ts', 'initial.ts', 'openapi.ts'])
  t.same(typeErrors(folder, snippets.keys()), [])
})

t.test('docs: the commands print what the page says', async (t) => {
  process.env.PORT = '0'
  const { fastify } = await load<{ fastify: FastifyInstance }>('http-server.js') // the last test closes it
  const { port } = fastify.server.address() as AddressInfo
  const { live } = fastify.ds.primitives
  /** What somebody else does, once a command waits for it. */
  const meanwhile = async (command: string, printed: () => string): Promise<unknown> => {
    if (command.includes('wait=30')) {
      await until(() => fastify.ds.transport.getConnectionCount() === 1)
      return await live.update('board', (draft: any) => { draft.items.push('eggs') })
    }
    if (!command.includes('event-stream')) return undefined
    await until(() => printed().includes('event: snapshot'))
    return await live.update('board', (draft: any) => { draft.title = 'Party' })
  }
  const epoch = (await live.getSnapshot('board')).epoch
  t.ok(sessions.length >= 10, `${sessions.length} commands`)
  for (const { command, output } of sessions) {
    let printed = ''
    const child: ChildProcess = spawn('sh', ['-c', command.replace('curl ', 'exec curl -sS --max-time 20 ').replace('localhost:3000', `127.0.0.1:${port}`).replaceAll('3f2a…', epoch)], { stdio: ['ignore', 'pipe', 'pipe'] })
    child.stdout!.on('data', (text) => { printed += String(text) })
    child.stderr!.on('data', (text) => { printed += String(text) })
    const ended = new Promise((resolve) => { child.once('close', resolve) })
    await meanwhile(command, () => printed)
    if (command.includes('event-stream')) {
      await until(() => printed.trimEnd().length >= output.length && printed.endsWith('\n\n'))
      child.kill()
    }
    await ended
    t.match(shown(printed, output), patternOf(output), command)
  }
})

t.test('docs: the other snippets run', async (t) => {
  const { ds } = await load<{ ds: DatasoleServer }>('http-plain.js')
  await ds.close()
  const { fastify: described, document } = await load<{ fastify: FastifyInstance, document: { paths: object } }>('openapi.js')
  t.ok('/api/state/{key}' in document.paths)
  await described.close()

  const { fastify } = await load<{ fastify: FastifyInstance }>('http-server.js')
  t.teardown(() => fastify.close())
  const { port } = fastify.server.address() as AddressInfo
  const { initialOf } = await load<{ initialOf (api: string, key: string, authorization: string): Promise<any> }>('initial.js')
  const { live } = fastify.ds.primitives
  await live.setState('page', { n: 1, text: 'x'.repeat(1000) })
  const initial = await initialOf(`http://127.0.0.1:${port}/api`, 'page', 'Bearer ann-token')
  t.match(initial, { ...await live.getSnapshot('page') })
  t.equal(await initialOf(`http://127.0.0.1:${port}/api`, 'nothing', 'Bearer ann-token'), undefined)
  const client = new DatasoleClient<any>({ url: `ws://127.0.0.1:${port}/__ds`, webSocket: WebSocket as never, auth: { token: 'ann-token' } })
  t.teardown(() => client.disconnect())
  const heard: unknown[] = []
  client.subscribeState('page', (value: any, _previous: unknown, patches: unknown) => { heard.push([value.n, patches]) }, { initial } as never)
  await client.connect()
  await live.update('page', (draft: any) => { draft.n = 2 })
  await until(() => heard.some((each) => (each as [number])[0] === 2))
  t.match(heard.at(-1), [2, [{ op: 'replace', path: '/n', value: 2 }]], 'the client goes on from there')
})
