import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises'
import { gzipSync } from 'node:zlib'
import { build } from 'esbuild'

/*
 * Writes dist/client (the client for script tags, and its Web Worker) and dist/inspector (the page of
 * datasole/inspector). Prints their sizes, and the sizes that parts of the client add to an application's bundle.
 * test/package/sizes.test.ts has the budgets.
 */
const gzip = (bytes) => gzipSync(bytes, { level: 9 }).length
const common = { bundle: true, minify: true, target: 'es2022', logLevel: 'warning' }

await mkdir('dist/client', { recursive: true })
const sizes = {}
for (const [file, entry] of [['datasole.iife.min.js', 'browser'], ['datasole-worker.iife.min.js', 'worker']]) {
  const outfile = `dist/client/${file}`
  await build({ ...common, entryPoints: [`lib/client/${entry}.ts`], format: 'iife', outfile })
  sizes[file] = gzip(await readFile(outfile))
}

/** The size that imports add to an application's bundle, without the socket's code, which bundlers put into another file. */
async function imports (contents) {
  const { outputFiles } = await build({ ...common, stdin: { contents, resolveDir: 'dist/lib/client' }, format: 'esm', write: false, external: ['yjs', 'y-protocols', 'react', './socket-link.js', '../../client/socket-link.js'] })
  return gzip(outputFiles[0].contents)
}

const live = "export { LiveClient } from './client.js'"
sizes['RPC, events, live state'] = await imports(live)
sizes['with channels'] = await imports(`${live}; export { channel } from './client.js'`)
sizes['with CRDTs'] = await imports(`${live}; export { crdt } from './client.js'`)
sizes['with Yjs'] = await imports(`${live}; export * from './yjs.js'`)
sizes.everything = await imports("export * from './client.js'")
sizes['hooks of React'] = await imports("export * from '../bindings/react/react-hooks.js'")
await mkdir('dist/inspector', { recursive: true })
await build({ ...common, entryPoints: [{ in: 'lib/inspector-page/main.ts', out: 'page' }, { in: 'lib/inspector-page/style.css', out: 'style' }], format: 'iife', outdir: 'dist/inspector' })
await copyFile('lib/inspector-page/index.html', 'dist/inspector/index.html')
sizes['page of the inspector'] = gzip(await readFile('dist/inspector/page.js')) + gzip(await readFile('dist/inspector/style.css')) + gzip(await readFile('dist/inspector/index.html'))
await writeFile('dist/sizes.json', JSON.stringify(sizes, null, 2))
for (const [name, size] of Object.entries(sizes)) console.log(`${(size / 1024).toFixed(1).padStart(6)} KB gzip  ${name}`)
