import { copyFile, mkdir, readFile, readdir, rm, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { build } from 'esbuild'

/*
 * Writes dist/cjs: the published modules as CommonJS, file by file, with the same declarations. They are for loaders
 * that cannot require ES modules (Jest, TypeScript before 5.8). Node.js uses the ES modules for both `import` and
 * `require`, so that a process has only one copy of the package (docs/packaging.md).
 */
const from = 'dist'
const to = join(from, 'cjs')
const published = /^(index|(lib|plugins)[/\\](?!cli[/\\]).*|test[/\\](backend[/\\](contract|deletions)|helpers[/\\](random|until)))\.(js|d\.ts)$/
const withUrl = join('lib', 'server', 'config', 'package-file.js') // the only module that uses import.meta.url

await rm(to, { recursive: true, force: true })
const names = (await readdir(from, { recursive: true })).filter((name) => published.test(name))
const modules = names.filter((name) => name.endsWith('.js'))
await build({
  entryPoints: modules.map((name) => join(from, name)),
  outbase: from,
  outdir: to,
  format: 'cjs',
  platform: 'node',
  target: 'es2023',
  supported: { 'dynamic-import': false }, // drivers are loaded by import(), which Jest does not support in CommonJS
  define: { 'import.meta.url': 'moduleUrl' },
  logLevel: 'warning'
})
for (const name of names.filter((name) => !modules.includes(name))) {
  await mkdir(dirname(join(to, name)), { recursive: true })
  await copyFile(join(from, name), join(to, name))
}
// paths of package files start at the ES module, because the bundles and the thread's entry exist only once
const url = `const moduleUrl = require('node:url').pathToFileURL(require('node:path').join(__dirname, '../../../../${withUrl.replaceAll('\\', '/')}')).href\n`
await writeFile(join(to, withUrl), url + await readFile(join(to, withUrl), 'utf8'))
await writeFile(join(to, 'package.json'), '{ "type": "commonjs" }\n')
