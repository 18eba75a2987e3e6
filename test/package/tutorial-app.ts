import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync, readdirSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'

/** Pages of the tutorial, in order, and the start before it. */
export const START = 'docs/start/five-minutes.md'
export const STEPS = readdirSync('docs/tutorial').filter((name) => /^\d/.test(name)).sort().map((name) => `docs/tutorial/${name}`)

/** The listings of a page whose first line names a file, as a reader would copy them. */
export function listingsOf (path: string): Map<string, string> {
  const titles = /^(?:\/\/|<!--|#) (\S+\.\w+)(?: -->)?\n/
  const blocks = Array.from(readFileSync(path, 'utf8').matchAll(/^```(\w+)\n([\s\S]+?)^```$/gm), ([, , code]) => code!)
  return new Map(blocks.flatMap((code) => {
    const [, name] = titles.exec(code) ?? []
    return name === undefined ? [] : [[name, code] as const]
  }))
}

/** Writes an application as a reader has it who followed these pages in turn: later listings replace earlier ones. */
export async function writeApp (folder: string, pages: string[]): Promise<string> {
  for (const [name, code] of pages.flatMap((page) => [...listingsOf(page)])) {
    await mkdir(dirname(join(folder, name)), { recursive: true })
    await writeFile(join(folder, name), code)
  }
  return folder
}

/** Relative links of a page to files that are not there. */
export function brokenLinks (path: string): string[] {
  return Array.from(readFileSync(path, 'utf8').matchAll(/\]\(([^)#:]+)(?:#[^)]*)?\)/g), ([, target]) => target!)
    .filter((target) => !existsSync(join(dirname(path), target)))
}

export interface App {
  url: string
  /** What it has printed, errors included. */
  output: () => string
  /** Ends it as Ctrl-C or a process manager does. @returns its exit code */
  stop: (signal?: NodeJS.Signals) => Promise<number | null>
}

interface Test { teardown (end: () => void): void }

/** Runs `node server.js`, and waits for the line that the pages show. */
export async function startApp (t: Test, folder: string, env: Record<string, string> = {}): Promise<App> {
  const { REDIS_URL: _, ...inherited } = process.env
  const child: ChildProcess = spawn(process.execPath, ['server.js'], { cwd: folder, env: { ...inherited, PORT: '0', ...env }, stdio: ['ignore', 'pipe', 'pipe'] })
  t.teardown(() => { child.kill('SIGKILL') })
  let output = ''
  for (const stream of [child.stdout!, child.stderr!]) stream.setEncoding('utf8').on('data', (text: string) => { output += text; child.emit('printed') })
  const ended = once(child, 'close')
  const failed = ended.then(([code]) => { throw new Error(`server.js ended with ${code}: ${output}`) })
  failed.catch(() => {})
  const line = /^Open (http:\/\/localhost:\d+)$/m
  while (!line.test(output)) await Promise.race([once(child, 'printed'), failed])
  return {
    url: line.exec(output)![1]!,
    output: () => output,
    stop: async (signal = 'SIGTERM') => {
      child.kill(signal)
      return (await ended)[0] as number | null
    }
  }
}
