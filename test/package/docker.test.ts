import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { cp, mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { blocksOf } from '../helpers/doc-pages.js'
import { consumer } from './consumer.js'

/** The Dockerfile of docs/run/containers.md, step by step, as far as that goes without Docker. */
const { folder } = await consumer(t)
const blocks = blocksOf('docs/run/containers.md')
const blockOf = (name: string): string => blocks.find(({ file }) => file === name)!.code

/** What needs the registry: the packages are found further up. */
const FROM_REGISTRY = ['npm ci', 'npm prune --omit=dev']

const context = join(folder, 'context')
await mkdir(join(context, 'node_modules', 'of-the-host'), { recursive: true })
for (const name of ['server.ts', 'tsconfig.json', '.dockerignore']) await writeFile(join(context, name), blockOf(name))
const [, settings] = /^npm pkg set (.+)$/m.exec(blocks.find(({ language }) => language === 'sh')!.code)!
await writeFile(join(context, 'package.json'), '{"name": "my-app"}')
await writeFile(join(context, 'package-lock.json'), '{}')
await promisify(execFile)('npm', ['pkg', 'set', ...settings!.split(' ')], { cwd: context })
const ignored = (await readFile(join(context, '.dockerignore'), 'utf8')).trim().split('\n')

t.test('docker: the image builds, runs, and ends in good order', async (t) => {
  const stages = new Map<string, string>()
  const env: Record<string, string> = {}
  let stage = ''
  let command: string[] = []
  const copy = async (from: string, to: string): Promise<void> => { await cp(from, to, { recursive: true }) }
  const steps: Record<string, (rest: string) => Promise<void>> = {
    FROM: async (rest) => {
      const [, image, name = 'last'] = /^(\S+)(?: AS (\S+))?$/.exec(rest)!
      t.match(image, /^node:2[2-9]/)
      stage = join(folder, `stage-${name}`)
      await mkdir(stage)
      stages.set(name, stage)
    },
    WORKDIR: async (rest) => { t.equal(rest, '/app') },
    COPY: async (rest) => {
      const [, from, files] = /^(?:--from=(\S+) )?(.+)$/.exec(rest) as unknown as [string, string | undefined, string]
      const paths = files.split(' ')
      const target = paths.pop()!
      t.match(target, /^\.\/?$/)
      if (from !== undefined) {
        t.strictSame(paths, ['/app'])
        await copy(stages.get(from)!, stage)
      } else if (paths[0] === '.') {
        await cp(context, stage, { recursive: true, filter: (path) => !ignored.some((name) => path === join(context, name)) })
      } else for (const path of paths) await copy(join(context, path), join(stage, path))
    },
    RUN: async (rest) => {
      const line = rest.split(' && ').map((each) => FROM_REGISTRY.includes(each) ? 'true' : each).join(' && ')
      await promisify(execFile)('sh', ['-c', line], { cwd: stage })
    },
    ENV: async (rest) => { Object.assign(env, Object.fromEntries([rest.split('=')])) },
    USER: async (rest) => { t.equal(rest, 'node') },
    EXPOSE: async (rest) => { t.equal(rest, '3000') },
    CMD: async (rest) => { command = JSON.parse(rest) as string[] }
  }
  for (const line of blockOf('Dockerfile').split('\n').filter((line) => line !== '')) {
    const [, step, rest] = /^([A-Z]+) (.+)$/.exec(line)!
    await steps[step!]!(rest!)
  }

  t.strictSame(await promisify(execFile)('ls', [stage]).then(({ stdout }) => stdout.trim().split('\n')), ['dist', 'package-lock.json', 'package.json', 'server.ts', 'tsconfig.json'], 'nothing of the host')
  const { REDIS_URL: _, ...inherited } = process.env
  const [program, ...args] = command
  t.equal(program, 'node')
  const server = spawn(process.execPath, args, { cwd: stage, env: { ...inherited, ...env, PORT: '0' }, stdio: ['ignore', 'pipe', 'inherit'] })
  t.teardown(() => { server.kill('SIGKILL') })
  const [printed] = await once(server.stdout.setEncoding('utf8'), 'data') as [string]
  const port = /:(\d+)$/.exec(printed.trim())![1]!
  t.equal((await fetch(`http://127.0.0.1:${port}/ops/health`)).status, 200)
  server.kill('SIGTERM')
  t.strictSame(await once(server, 'exit'), [0, null])
})
