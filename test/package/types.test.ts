import { mkdir, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { join, resolve } from 'node:path'
import t from 'tap'
import type TypeScript from 'typescript'
import { importsOf } from '../layers/imports.js'
import { consumer } from './consumer.js'

const { folder } = await consumer(t)
const require = createRequire(import.meta.url)

const contract = `
  interface Contract {
    rpc: { add: { params: { a: number, b: number }, result: number } }
    events: { chat: string }
    state: { counter: { n: number } }
  }
`

const server = `
  import Fastify from 'fastify'
  import datasole, { type DatasoleServerOptions } from 'datasole'
  import { DatasoleServer, DatasoleError, RedisBackend } from 'datasole/server'
  import { contract } from 'datasole/backend-contract'
  import { DatasoleClient } from 'datasole/client'
  ${contract}
  declare module 'datasole' { interface Register { contract: Contract } }
  export async function start (): Promise<number> {
    const options: DatasoleServerOptions = { path: '/live' }
    const app = Fastify()
    await app.register(datasole, options)
    app.ds.rpc.register('add', ({ a, b }) => a + b)
    const server = new DatasoleServer<Contract>({ ...options, stateBackend: new RedisBackend() })
    server.rpc.register('add', ({ a, b }) => a + b)
    const client = new DatasoleClient<Contract>({ url: 'http://localhost' })
    const code: string = new DatasoleError('MINE', 'mine').code
    // @ts-expect-error -- the contract has no such method
    app.ds.rpc.register('subtract', () => 0)
    // @ts-expect-error -- a result is a number
    server.rpc.register('add', () => 'one')
    // @ts-expect-error -- it takes two numbers
    await client.rpc('add', { a: 1 })
    // @ts-expect-error -- it is a function
    const never: string = contract
    return await client.rpc('add', { a: 1, b: code.length })
  }
`

const yjs = `
  import { bindYjs } from 'datasole/client/yjs'
  import { bindAwareness } from 'datasole/client/yjs-awareness'
  // @ts-expect-error -- they are functions
  export const never: string = bindYjs ?? bindAwareness
`

const page = `
  import { DatasoleClient } from 'datasole/client'
  ${contract}
  export const client = new DatasoleClient<Contract>({ webSocket: WebSocket })
  export const sum: Promise<number> = client.rpc('add', { a: 1, b: 2 }, { signal: AbortSignal.timeout(5) })
  // @ts-expect-error -- it takes two numbers
  void client.rpc('add', { a: 1 })
`

const react = `
  import { createHooks } from 'datasole/react'
  ${contract}
  const { Provider, useLive, useRpc } = createHooks<Contract>()
  export function counter (): number {
    void useRpc('add').call({ a: 1, b: 2 })
    void Provider({ options: { url: '/live' }, initial: { counter: { value: { n: 1 }, epoch: 'e', version: 1 } } })
    // @ts-expect-error -- the contract has no such key
    useLive('count')
    return useLive('counter', (counter) => counter?.n ?? 0).value
  }
`

interface Case {
  name: string
  /** Its ending says what module it is. */
  file: string
  text: string
  /** As in tsconfig.json. */
  options: { module: string, moduleResolution?: string, lib?: string[], types?: string[], esModuleInterop?: boolean }
}

const node = { types: ['node'], esModuleInterop: true }
const dom = { lib: ['lib.es2022.d.ts', 'lib.dom.d.ts'], types: [] }
const CASES: Case[] = [
  { name: 'node16, ES module', file: 'esm/server.mts', text: server + yjs, options: { module: 'node16', ...node } },
  // of Yjs, the types are those of an ES module, which CommonJS cannot import there
  { name: 'node16, CommonJS', file: 'cjs/server.cts', text: server, options: { module: 'node16', ...node } },
  { name: 'bundler', file: 'bundler/server.ts', text: server + yjs, options: { module: 'esnext', moduleResolution: 'bundler', ...node } },
  { name: 'node10', file: 'node10/server.ts', text: server + yjs, options: { module: 'commonjs', moduleResolution: 'node10', ...node } },
  { name: 'a page, without Node.js', file: 'bundler/page.ts', text: page, options: { module: 'esnext', moduleResolution: 'bundler', ...dom } },
  { name: 'a page with React', file: 'bundler/react.ts', text: react, options: { module: 'esnext', moduleResolution: 'bundler', ...dom } },
  { name: 'React, node10', file: 'node10/react.ts', text: react, options: { module: 'commonjs', moduleResolution: 'node10', ...dom } },
  { name: 'React, node16', file: 'esm/react.mts', text: react, options: { module: 'node16', ...dom } }
]
// until then, nodenext is node16
const NEXT: Case[] = [
  { name: 'nodenext, ES module', file: 'esm/server.mts', text: server + yjs, options: { module: 'nodenext', ...node } },
  { name: 'nodenext, CommonJS', file: 'cjs/next.cts', text: server + yjs, options: { module: 'nodenext', ...node } }
]

for (const { file, text } of [...CASES, ...NEXT]) {
  await mkdir(join(folder, file, '..'), { recursive: true })
  await writeFile(join(folder, file), text)
}

for (const [version, cases] of [['typescript-5.0', CASES], ['typescript-5.4', CASES], ['typescript-5.9', [...CASES, ...NEXT]], ['typescript', [...CASES, ...NEXT]]] as const) {
  const ts = require(version) as typeof TypeScript
  const sources = new Map<string, TypeScript.SourceFile | undefined>()
  t.test(`TypeScript ${ts.version}`, async (t) => {
    for (const { name, file, text, options: { lib, ...options } } of cases) {
      const { options: parsed, errors } = ts.convertCompilerOptionsFromJson({ ...options, target: 'es2022', strict: true, noEmit: true, exactOptionalPropertyTypes: true }, folder)
      t.strictSame(errors, [])
      const settings = { ...parsed, ...lib && { lib }, typeRoots: [resolve('node_modules/@types')] }
      const program = ts.createProgram([join(folder, file)], settings, sharing(ts, settings, sources))
      // the package's own are looked at as without skipLibCheck
      const ours = program.getSourceFiles().filter(({ fileName }) => fileName.startsWith(folder))
      t.ok(ours.length >= 20, `${name}: it read ${ours.length} files`)
      const problems = ours.flatMap((source) => [...program.getSyntacticDiagnostics(source), ...program.getSemanticDiagnostics(source)])
      t.strictSame(problems.map(({ file, code, messageText }) => `${file?.fileName}: TS${code} ${ts.flattenDiagnosticMessageText(messageText, '\n')}`), [], name)
      const others = ours.flatMap(({ fileName, text }) => importsOf(fileName, text)).map(({ to }) => to).filter((to) => !/^(\/|node:|datasole)/.test(to))
      t.strictSame([...new Set(others)].sort(), text === page ? [] : text === react ? ['react'] : text === server ? ['@standard-schema/spec', 'fastify'] : ['@standard-schema/spec', 'fastify', 'y-protocols/awareness', 'yjs'], `${name}: other packages that its types need`)
    }
  })
}

/** A host whose programs share what they have parsed: most of it is the declarations of others. */
function sharing (ts: typeof TypeScript, options: TypeScript.CompilerOptions, sources: Map<string, TypeScript.SourceFile | undefined>): TypeScript.CompilerHost {
  const host = ts.createCompilerHost(options)
  const { getSourceFile } = host
  host.getSourceFile = (path, settings, ...rest) => {
    const key = JSON.stringify([path, options.module, settings])
    if (!sources.has(key)) sources.set(key, getSourceFile(path, settings, ...rest))
    return sources.get(key)
  }
  return host
}
