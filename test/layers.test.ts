import { readFile, readdir } from 'node:fs/promises'
import { join, sep } from 'node:path'
import t from 'tap'
import { importsOf } from './layers/imports.js'
import { isShipped, violations } from './layers/rules.js'

async function readSources (folders: string[]): Promise<Map<string, string>> {
  const sources = new Map([['index.ts', await readFile('index.ts', 'utf8')]])
  for (const folder of folders) {
    for (const name of await readdir(folder, { recursive: true })) {
      const path = join(folder, name)
      if (path.endsWith('.ts') && !path.includes('node_modules')) sources.set(path.replaceAll(sep, '/'), await readFile(path, 'utf8'))
    }
  }
  return sources
}

t.test('the layers hold over the real imports', async (t) => {
  const sources = await readSources(['lib', 'plugins', 'test', 'examples', 'bench'])
  t.strictSame(violations(sources), [])

  const shipped = [...sources].filter(([path]) => isShipped(path))
  const count = (folder: string): number => shipped.filter(([path]) => path.startsWith(folder)).length
  t.ok(count('lib/protocol/') >= 13, 'it saw the protocol')
  t.ok(count('lib/client/') >= 13, 'it saw the client')
  t.ok(count('lib/bindings/react/') >= 4, 'it saw the hooks of React')
  t.ok(count('lib/server/') >= 32, 'it saw the server')
  t.ok(count('lib/backend/') >= 3, 'it saw the backends')
  t.ok(count('plugins/') >= 7, 'it saw the plugins')
  const imports = shipped.flatMap(([path, text]) => importsOf(path, text))
  const written = shipped.flatMap(([, text]) => text.match(/^(import|export) .*from '/gm) ?? [])
  t.ok(written.length >= 250 && imports.length >= written.length, `it saw ${imports.length} imports in ${shipped.length} files`)
})

t.test('layers: every syntax of an import is seen', async (t) => {
  const of = (text: string): string[] => importsOf('lib/server/hub.ts', text).map(({ to, kind }) => `${kind} ${to}`)
  t.strictSame(of("import a, { type B } from 'a'"), ['static a'])
  t.strictSame(of("import 'a'"), ['static a'])
  t.strictSame(of("import { type B } from './b.js'"), ['static lib/server/b.ts'], 'it is not erased')
  t.strictSame(of("import type { B } from '../b/c.js'"), ['type lib/b/c.ts'])
  t.strictSame(of("import type B from 'b'"), ['type b'])
  t.strictSame(of("export { a } from 'a'; export * from 'b'; export * as c from 'c'; export type { D } from 'd'"), ['static a', 'static b', 'static c', 'type d'])
  t.strictSame(of("import a = require('a')"), ['static a'])
  t.strictSame(of("async function f () { const b = await import('./b.js') }"), ['dynamic lib/server/b.ts'])
  t.strictSame(of('async function f (name: string) { await import(name) }'), ['dynamic (computed)'])
  t.strictSame(of("const a = require('a')"), ['static a'])
  t.strictSame(of("function f (a: import('a').A<import('./b.js').B>): void {}"), ['type a', 'type lib/server/b.ts'])
  t.strictSame(of("/// <reference types=\"node\" />\ndeclare module 'fastify' {}"), ['type node', 'type fastify'])
  t.strictSame(of("// import a from 'a'\nconst text = \"import a from 'a'\""), [])
})

/** The violations of a small tree in which every file that is imported exists. */
function inTree (tree: Record<string, string>): string[] {
  return violations(new Map(Object.entries(tree)))
}

t.test('layers: what breaks a rule is found', async (t) => {
  const broken: Array<[rule: string, path: string, text: string]> = [
    ['1', 'lib/server/a.ts', "import type { FastifyInstance } from 'fastify'"],
    ['1', 'lib/backend/a.ts', "import websocket from '@fastify/websocket'"],
    ['1', 'lib/executor/a.ts', "declare module 'fastify' {}"],
    ['2', 'lib/protocol/a.ts', "import { Buffer } from 'node:buffer'"],
    ['2', 'lib/crdt/a.ts', "export * from '../server/target.js'"],
    ['2', 'lib/protocol/a.ts', "type A = import('../backend/backend.js').A"],
    ['3', 'lib/client/a.ts', "import type { B } from '../server/target.js'"],
    ['3', 'lib/client/a.ts', "import { randomUUID } from 'node:crypto'"],
    ['3', 'lib/client/a.ts', "import { WebSocket } from 'ws'"],
    ['3a', 'lib/bindings/react/a.ts', "import { target } from '../../server/target.js'"],
    ['3a', 'lib/bindings/react/a.ts', "import { createRoot } from 'react-dom/client'"],
    ['3a', 'lib/bindings/a.ts', "import { useState } from 'react'"],
    ['3c', 'lib/inspector-page/a.ts', "import { target } from '../server/target.js'"],
    ['3b', 'lib/client/a.ts', "import type { ReactNode } from 'react'"],
    ['4', 'lib/server/a.ts', "import { MemoryBackend } from '../backend/memory/memory.js'"],
    ['4', 'lib/server/a.ts', "const inline = await import('../executor/inline.js')"],
    ['4', 'lib/server/datasole.ts', "import { DatasoleClient } from '../client/client.js'"],
    ['5', 'lib/server/a.ts', "const { Redis } = await import('ioredis')"],
    ['5', 'lib/backend/redis/redis.ts', "const { Pool } = await import('pg')"],
    ['5', 'plugins/a.ts', "import type { Piscina } from 'piscina'"],
    ['5', 'lib/server/metrics/a.ts', "import type { Registry } from 'prom-client'"],
    ['5', 'plugins/metrics.ts', "const api = await import('@opentelemetry/api')"],
    ['6', 'plugins/a.ts', "import { target } from './other.js'"],
    ['6', 'plugins/a.ts', "import { datasole } from '../index.js'"],
    ['6', 'plugins/mount.ts', "import t from '../test/helpers/target.js'"],
    ['7', 'lib/backend/a.ts', "import { mount } from '../../plugins/mount.js'"],
    ['7', 'lib/server/a.ts', "import type { Register } from 'datasole'"],
    ['7', 'lib/backend/a.ts', 'await import(name)'],
    ['7', 'lib/server/a.ts', "import { a } from './a.js'"],
    ['7', 'lib/server/index.ts', 'const a = 1'],
    ['7', 'test/server/index.ts', 'const a = 1'],
    ['7', 'lib/server/a.ts', "export { target } from './target.js'"]
  ]
  const targets = ['server/target', 'backend/backend', 'backend/memory/memory', 'executor/inline', 'client/client'].map((path) => [`lib/${path}.ts`, ''])
  const others = ['plugins/other.ts', 'plugins/mount.ts', 'test/helpers/target.ts', 'index.ts'].map((path) => [path, ''])
  const rest = Object.fromEntries([...targets, ...others])
  t.strictSame(inTree(rest), [], 'the tree is fine without them')
  for (const [rule, path, text] of broken) {
    const found = inTree({ ...rest, [path]: text })
    t.ok(found.length > 0 && found.some((violation) => violation.includes(`(${rule}: `)), `${path}: ${text}`)
  }
})

t.test('layers: what needs more than one file, or none', async (t) => {
  const redis = 'lib/backend/redis/redis.ts'
  t.match(inTree({ 'index.ts': `import { Redis } from './${redis.replace('.ts', '.js')}'`, [redis]: "import { Redis } from 'ioredis'" }), [/^ioredis is loaded/])
  t.match(inTree({ 'lib/server/a.ts': "import './b.js'", 'lib/server/b.ts': "import type { C } from './c.js'", 'lib/server/c.ts': "import './a.js'" }), [/a\.ts → .*b\.ts → .*c\.ts → .*a\.ts/])
  t.match(inTree({ 'lib/server/a/one.ts': "import '../b/two.js'", 'lib/server/b/two.ts': '', 'lib/server/b/three.ts': "import type { Four } from '../a/four.js'", 'lib/server/a/four.ts': '' }), [/lib\/server\/a → lib\/server\/b → lib\/server\/a .*folders/])
  t.match(inTree({ 'lib/server/a/calls.ts': '', 'lib/client/calls.ts': '' }), [/a\/calls\.ts and lib\/client\/calls\.ts have one name/])
  t.match(inTree({ 'lib/server/redis.ts': '', 'lib/client/redis.ts': '' }), [/have one name/], 'only a plugin shares a name')
  t.match(inTree({ 'lib/server/a.ts': "import './gone.js'" }), [/gone\.ts, which is not there/])
  t.match(inTree({ 'lib/server/a.ts': '\n'.repeat(300) + 'a' }), [/more than 300 lines/])
})

t.test('layers: what the rules allow', async (t) => {
  t.strictSame(inTree({
    'index.ts': "import fp from 'fastify-plugin'\nimport { mount } from './plugins/mount.js'\nimport { ds } from './lib/server/datasole.js'\ndeclare module 'fastify' {}",
    'plugins/server.ts': "export { mount } from './mount.js'",
    'plugins/mount.ts': "import { assets } from './assets.js'",
    'plugins/redis.ts': '',
    'plugins/assets.ts': "import fastify from 'fastify'\nimport { hub } from '../lib/server/hub.js'",
    'lib/server/datasole.ts': "import { MemoryBackend } from '../backend/memory/memory.js'\nimport { Inline } from '../executor/inline.js'",
    'lib/server/hub.ts': "import type { StateBackend } from '../backend/backend.js'\nimport { frame } from '../protocol/frame.js'\nimport 'node:zlib'",
    'lib/backend/backend.ts': '',
    'lib/backend/memory/memory.ts': "import type { StateBackend } from '../backend.js'",
    'lib/backend/redis/redis.ts': "import type { Redis } from 'ioredis'\nasync function connect () { await import('ioredis') }",
    'lib/executor/inline.ts': '',
    'lib/client/client.ts': "import { frame } from '../protocol/frame.js'",
    'lib/protocol/frame.ts': '',
    'lib/bindings/store.ts': "import type { Client } from '../client/client.js'",
    'lib/bindings/react/hooks.ts': "import { useState } from 'react'\nimport { store } from '../store.js'",
    'test/a.test.ts': "import { hub } from '../lib/server/hub.js'\nimport 'fastify'"
  }), [])
})
