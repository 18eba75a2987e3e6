import { execFile } from 'node:child_process'
import { access, mkdir, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)

/** A platform that npm has, at the version that is tested. */
export interface Platform {
  name: string
  program: string
  args: string[]
}

const folder = resolve('node_modules', '.cache', 'platforms')
const node = `node-${process.platform === 'win32' ? 'win' : process.platform}-${process.arch}`
const packages: Record<string, string> = {
  'node-22': `npm:${node}@22.22.0`,
  'node-24': `npm:${node}@24.21.0`,
  bun: '1.4.5',
  deno: '2.9.6'
}

/** Installs the platforms once, beside the dependencies, as a tenth of a gigabyte is too much for each checkout to need. */
export async function platforms (): Promise<Platform[]> {
  await mkdir(folder, { recursive: true })
  const wanted = JSON.stringify({ private: true, dependencies: packages })
  const isThere = await Promise.all(Object.keys(packages).map((name) => access(join(folder, 'node_modules', name)).then(() => true, () => false)))
  if (isThere.includes(false)) {
    await writeFile(join(folder, 'package.json'), wanted)
    await run('npm', ['install', '--no-audit', '--no-fund', '--no-package-lock'], { cwd: folder, maxBuffer: 16 * 1024 * 1024 }).catch((error: Error) => {
      throw new Error(`Node.js 22 and 24, Bun and Deno could not be installed from npm, and the client is tested on them: ${error.message}`)
    })
  }
  const bin = (name: string): string => join(folder, 'node_modules', name)
  return [
    { name: `Node.js ${process.versions.node}`, program: process.execPath, args: [] },
    { name: 'Node.js 22', program: bin('node-22/bin/node'), args: [] },
    { name: 'Node.js 24', program: bin('node-24/bin/node'), args: [] },
    { name: 'Bun', program: bin('.bin/bun'), args: [] },
    { name: 'Deno', program: bin('.bin/deno'), args: ['run', '-A'] }
  ]
}
