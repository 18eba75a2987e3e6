import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)

/** A project that has this package as users have it: packed and unpacked; its dependencies are found further up. */
export interface Consumer {
  folder: string
  /** Where the package is. */
  installed: string
  tarball: string
  /** What npm says of it. */
  packed: { filename: string, size: number, unpackedSize: number, files: Array<{ path: string }> }
  /** Runs Node.js in the folder. @returns what it prints */
  node (...args: string[]): Promise<string>
}

interface Test { teardown (end: () => Promise<void>): void }

/** The tests run from the root of the repository, when all is built. */
export async function consumer (t: Test): Promise<Consumer> {
  const folder = await mkdtemp(resolve('node_modules', '.package-test-'))
  t.teardown(() => rm(folder, { recursive: true }))
  const { stdout } = await run('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', folder], { maxBuffer: 16 * 1024 * 1024 })
  const [packed] = JSON.parse(stdout) as [Consumer['packed']]
  const tarball = join(folder, packed.filename)
  const installed = join(folder, 'node_modules', 'datasole')
  await mkdir(installed, { recursive: true })
  // a package of its own: inside of ours, the name datasole would mean this folder
  await writeFile(join(folder, 'package.json'), '{"name": "consumer", "type": "module"}')
  await run('tar', ['-xzf', tarball, '-C', installed, '--strip-components=1'])
  return { folder, installed, tarball, packed, node: async (...args) => (await run(process.execPath, args, { cwd: folder, timeout: 180_000 })).stdout.trim() }
}
