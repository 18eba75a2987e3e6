import { existsSync, readFileSync } from 'node:fs'
import { once } from 'node:events'
import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import Fastify, { type FastifyInstance } from 'fastify'
import t from 'tap'
import { TAIL_LEASE } from '../../../lib/inspector/frame-tails.js'
import { MAX_FILTER, MAX_FRAMES, MAX_ROWS, MAX_VALUE } from '../../../lib/inspector/views.js'
import type { DatasoleServer } from '../../../plugins/server.js'
import { snippetsOf, typeErrors, writeSnippets } from '../../helpers/snippets.js'
import { connect } from '../../helpers/wire.js'
import { viewer } from './viewer.js'

const page = readFileSync('docs/inspector.md', 'utf8')
const snippets = snippetsOf(page)
const folder = writeSnippets(t, 'inspector-docs', new Map(Array.from(snippets, ([name, code]) => {
  const exported = ['fastify', 'ds', 'http'].filter((variable) => code.includes(`const ${variable} =`))
  return [name, `${code}\nexport { ${exported.join(', ')} }\n`]
})))

t.test('docs: the bounds are those of the code, and links lead somewhere', async (t) => {
  const value = (bound: string): string | undefined => page.split('\n').find((line) => line.startsWith(`| ${bound} |`))?.split('|')[2]!.trim()
  t.equal(value('rows of a table'), String(MAX_ROWS))
  t.equal(value('a value'), `${MAX_VALUE / 1024} KiB of text`)
  t.equal(value('frames of a tail'), `${MAX_FRAMES}, 2,048 characters each`)
  t.equal(value('a filter'), `${MAX_FILTER} characters`)
  t.equal(value('tails'), `20 per node; each ends ${TAIL_LEASE / 1000} s after the last question`)
  const source = (file: string): string => readFileSync(`lib/inspector/${file}.ts`, 'utf8')
  t.match(source('connection-samples'), /MAX_CLOSED = 50\n/)
  t.match(source('key-samples'), /MAX_KEYS = 50_000\n[^]*MAX_COMMITS = 20\nconst MAX_PATCHES = 4096\n/)
  t.match(source('frame-tails'), /MAX_TAILS = 20\n[^]*MAX_DECODED = 2000\n/)
  t.match(source('frame-text'), /SHOWN = 2048\n/)
  for (const [, link] of page.matchAll(/\]\(([^)#]+)\)/g)) if (!link!.includes('://')) t.ok(existsSync(join('docs', link!)), link)
})

t.test('docs: the snippets have the right types, and run', async (t) => {
  t.same([...snippets.keys()], ['inspector-server.ts', 'ops-login.ts', 'inspector-plain.ts', 'inspector-actions.ts'])
  t.same(typeErrors(folder, snippets.keys()), [])
  const load = async <T>(name: string): Promise<T> => await import(pathToFileURL(resolve(folder, name)).href) as T
  process.env.OPS_TOKEN = 'secret'

  const { fastify } = await load<{ fastify: FastifyInstance }>('inspector-server.js')
  t.teardown(() => fastify.close())
  t.equal((await fastify.inject('/ops/inspector/')).statusCode, 401)
  const { opsLogin } = await load<{ opsLogin: (fastify: FastifyInstance) => void }>('ops-login.js')
  const login = Fastify()
  opsLogin(login)
  t.equal((await login.inject({ method: 'POST', url: '/ops-login', headers: { authorization: 'Bearer other' } })).statusCode, 401)
  const { cookies: [cookie] } = await login.inject({ method: 'POST', url: '/ops-login', headers: { authorization: 'Bearer secret' } })
  t.match(cookie, { name: 'ops', value: 'secret', path: '/ops', httpOnly: true })
  t.equal((await fastify.inject({ url: '/ops/inspector/', cookies: { ops: cookie!.value } })).statusCode, 200)
  const url = await fastify.listen({ port: 0, host: '127.0.0.1' })
  t.equal((await (await viewer(t, `${url}/ops/inspector`, { cookie: 'ops=secret' })).call('hello', undefined)).mayAct, false)

  const { ds, http } = await load<{ ds: DatasoleServer, http: Server }>('inspector-plain.js')
  http.listen(0, '127.0.0.1')
  await once(http, 'listening')
  const plain = await viewer(t, `http://127.0.0.1:${(http.address() as AddressInfo).port}/ops/inspector`)
  t.equal((await plain.call('hello', undefined)).mayAct, true)
  await plain.client.disconnect()
  const rebound = `other.example:${(http.address() as AddressInfo).port}`
  await t.rejects(connect(`ws://127.0.0.1:${(http.address() as AddressInfo).port}/ops/inspector/live`, { headers: { host: rebound, origin: `http://${rebound}` } }), /403/, 'a name that was made to lead here')
  await ds.close()
  http.close()

  const acting = await load<{ fastify: FastifyInstance }>('inspector-actions.js')
  t.teardown(() => acting.fastify.close())
  const address = await acting.fastify.listen({ port: 0, host: '127.0.0.1' })
  for (const [token, mayAct] of [['ann-token', true], ['bob-token', false], ['', false]] as const) {
    t.equal((await (await viewer(t, `${address}/inspector`, { cookie: `ops=${token}` })).call('hello', undefined)).mayAct, mayAct)
  }
})
