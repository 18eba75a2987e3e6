import { posix } from 'node:path'
import { type Import, type Sources, importsOf, isBarrel } from './imports.js'

/** The files that are shipped, and so obey the rules. */
export const isShipped = (path: string): boolean => path === 'index.ts' || /^(lib|plugins)\//.test(path)

const maxLines = 300
const lazyPackages = ['@opentelemetry/api', 'ioredis', 'pg', 'piscina', 'prom-client', 'yjs']
const browserSafePackages = ['yjs', 'y-protocols/awareness']
const frameworks = ['react', 'svelte', 'vue']
const barrels = ['index.ts', 'plugins/server.ts', 'lib/contract/exports.ts']
const composers = ['plugins/inspector.ts', 'plugins/mount.ts', 'plugins/standalone/datasole-server.ts', 'plugins/standalone/private-host.ts', 'plugins/server.ts'] // the inspector has a server of its own

const pluginTools = ['plugins/define.ts', 'plugins/schema-compiler.ts'] // no plugins, but what they are made with

const loaders = ['lib/executor/thread/worker-thread.ts', 'lib/cli/load-contract.ts'] // load a module of the user's

/** Plugins that carry the name of the thing that they register. */
const sharedNames = ['asyncapi.ts', 'backend.ts', 'executor.ts', 'inspector.ts', 'memory.ts', 'metrics.ts', 'postgres.ts', 'redis.ts', 'sessions.ts']

const isOurs = (to: string): boolean => to.endsWith('.ts')
const isIn = (path: string, ...folders: string[]): boolean => folders.some((folder) => path.startsWith(`${folder}/`))
const packageOf = (specifier: string): string => specifier.split('/').slice(0, specifier.startsWith('@') ? 2 : 1).join('/')
const isFastify = (to: string): boolean => ['fastify', 'fastify-plugin'].includes(packageOf(to)) || to.startsWith('@fastify/')

/** What an import violates, if anything. The numbers are those of the layers in the design. */
const importRules: Record<string, (entry: Import) => boolean> = {
  '1: only plugins and index.ts know Fastify': ({ from, to }) =>
    isFastify(to) && isIn(from, 'lib'),
  '2: protocol and crdt import each other and browser-safe packages': ({ from, to }) =>
    isIn(from, 'lib/protocol', 'lib/crdt') && !isIn(to, 'lib/protocol', 'lib/crdt') && !browserSafePackages.includes(to),
  '2a: a contract imports protocol, and the types of the standard of schemas': ({ from, to }) =>
    isIn(from, 'lib/contract') && !isIn(to, 'lib/contract', 'lib/protocol') && to !== '@standard-schema/spec',
  '3: the client imports protocol and crdt': ({ from, to }) =>
    isIn(from, 'lib/client') && !isIn(to, 'lib/client', 'lib/protocol', 'lib/crdt') && !browserSafePackages.includes(to),
  '3a: bindings import client, protocol and crdt, and a framework from its own folder only': ({ from, to }) =>
    isIn(from, 'lib/bindings') && !isIn(to, 'lib/bindings', 'lib/client', 'lib/protocol', 'lib/crdt') && !(frameworks.includes(packageOf(to)) && isIn(from, `lib/bindings/${packageOf(to)}`)),
  '3c: the page of the inspector imports the client, and the types of the inspector': ({ from, to, kind }) =>
    isIn(from, 'lib/inspector-page') && !isIn(to, 'lib/inspector-page', 'lib/client', 'lib/protocol') && !(to === 'lib/inspector/views.ts' && kind === 'type'),
  '3b: only bindings know the frameworks of pages': ({ from, to }) =>
    frameworks.includes(packageOf(to)) && !isIn(from, 'lib/bindings'),
  '4: the server imports protocol, crdt and contracts; only datasole.ts names implementations': ({ from, to }) =>
    isIn(from, 'lib/server') && isOurs(to) && !isIn(to, 'lib/server', 'lib/protocol', 'lib/crdt', 'lib/contract') &&
    to !== 'lib/backend/backend.ts' && to !== 'lib/executor/executor.ts' &&
    !(from === 'lib/server/datasole.ts' && isIn(to, 'lib/backend', 'lib/executor')),
  '5: a driver is named by its own implementation only': ({ from, to }) =>
    (packageOf(to) === 'ioredis' && !isIn(from, 'lib/backend/redis')) ||
    (packageOf(to) === 'pg' && !isIn(from, 'lib/backend/postgres')) ||
    (['prom-client', '@opentelemetry/api'].includes(packageOf(to)) && !isIn(from, 'lib/metrics')) ||
    (packageOf(to) === 'piscina' && !isIn(from, 'lib/executor')) ||
    (packageOf(to) === 'yjs' && !['lib/client/yjs.ts', 'lib/server/crdts/crdt-yjs.ts'].includes(from)) ||
    (packageOf(to) === 'y-protocols' && from !== 'lib/client/yjs-awareness.ts'),
  '6: plugins import lib, not each other': ({ from, to }) =>
    isIn(from, 'plugins') && isOurs(to) && !isIn(to, 'lib') && !(composers.includes(from) && isIn(to, 'plugins')) && !pluginTools.includes(to),
  '7: lib imports nothing of ours outside lib': ({ from, to }) =>
    isIn(from, 'lib') && ((isOurs(to) && !isIn(to, 'lib')) || packageOf(to) === 'datasole'),
  '7: an import can be followed': ({ from, to }) =>
    to === '(computed)' && !loaders.includes(from)
}

/** Every violation of the layers, in words; none for a tree that keeps them. */
export function violations (sources: Sources): string[] {
  const shipped = [...sources].filter(([path]) => isShipped(path))
  const imports = shipped.flatMap(([path, text]) => importsOf(path, text))
  return [
    ...imports.flatMap((entry) => Object.entries(importRules)
      .filter(([, isViolated]) => isViolated(entry))
      .map(([rule]) => `${entry.from} imports ${entry.to} (${rule})`)),
    ...imports.filter(({ to }) => (to.startsWith('.') || isOurs(to)) && !sources.has(to))
      .map(({ from, to }) => `${from} imports ${to}, which is not there`),
    ...eager(imports).map((to) => `${to} is loaded without being needed (5: drivers are imported when they are first needed)`),
    ...cycles(imports).map((cycle) => `${cycle.join(' → ')} (7: no cycles)`),
    ...cycles(folders(imports)).map((cycle) => `${cycle.join(' → ')} (7: no cycles between folders)`),
    ...[...sources.keys()].filter((path) => path.endsWith('/index.ts')).map((path) => `${path} (7: no index.ts below the root)`),
    ...shipped.filter(([path, text]) => isBarrel(path, text) && !barrels.includes(path)).map(([path]) => `${path} only re-exports (7: two barrels)`),
    ...namesakes(shipped.map(([path]) => path)).map((paths) => `${paths.join(' and ')} have one name (7: one name, one thing)`),
    ...shipped.filter(([, text]) => text.trimEnd().split('\n').length > maxLines).map(([path]) => `${path} has more than ${maxLines} lines`)
  ]
}

/** Groups of files with one base name. A plugin may share its name with one file of lib. */
function namesakes (paths: string[]): string[][] {
  const groups = new Map<string, string[]>()
  for (const path of paths) groups.set(posix.basename(path), [...groups.get(posix.basename(path)) ?? [], path])
  return [...groups]
    .filter(([name, group]) => group.length > (sharedNames.includes(name) && group.some((path) => isIn(path, 'plugins')) ? 2 : 1))
    .map(([, group]) => group)
}

/** The drivers that load with the package's entries. */
function eager (imports: Import[]): string[] {
  const reached = new Set(['index.ts', 'plugins/server.ts'])
  for (const path of reached) {
    for (const { from, to, kind } of imports) if (from === path && kind === 'static') reached.add(to)
  }
  return [...reached].filter((to) => lazyPackages.includes(packageOf(to)))
}

/** The imports between folders; entries, which gather what others export, are not counted. */
function folders (imports: Import[]): Import[] {
  return imports
    .filter(({ from, to }) => isOurs(to) && !barrels.includes(from) && posix.dirname(from) !== posix.dirname(to))
    .map(({ from, to, kind }) => ({ from: posix.dirname(from), to: posix.dirname(to), kind }))
}

/** One cycle for each import that closes one; types count, since they tie files together as well. */
function cycles (imports: Import[]): string[][] {
  const next = new Map<string, string[]>()
  for (const { from, to } of imports) next.set(from, [...next.get(from) ?? [], to])
  const found: string[][] = []
  const done = new Set<string>()
  const path: string[] = []
  const visit = (file: string): void => {
    if (path.includes(file)) found.push([...path.slice(path.indexOf(file)), file])
    if (path.includes(file) || done.has(file)) return
    path.push(file)
    for (const to of next.get(file) ?? []) visit(to)
    path.pop()
    done.add(file)
  }
  for (const file of next.keys()) visit(file)
  return found
}
