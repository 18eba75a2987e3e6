import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync, readdirSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'

/** The start, the page that sets the tutorial up, and its steps in order. */
export const START = 'docs/start/five-minutes.md'
export const SETUP = 'docs/tutorial/index.md'
export const STEPS = readdirSync('docs/tutorial').filter((name) => /^\d/.test(name)).sort().map((name) => `docs/tutorial/${name}`)

export interface Listing {
  /** The file that its first line names. */
  name: string
  code: string
  /** The lines that are marked as new, such as `3,7-9`; empty if none are. */
  marks: string
}

/** The listings of a page whose first line names a file, as a reader would copy them. */
export function listingsOf (path: string): Listing[] {
  const titles = /^(?:\/\/|<!--|#) (\S+\.\w+)(?: -->)?\n/
  return Array.from(readFileSync(path, 'utf8').matchAll(/^```\w+(?: \{([\d,-]+)\})?\n([\s\S]+?)^```$/gm)).flatMap(([, marks = '', code]) => {
    const [, name] = titles.exec(code!) ?? []
    return name === undefined ? [] : [{ name, code: code!, marks }]
  })
}

/** The files of a reader who followed these pages in turn: later listings replace earlier ones. */
export function filesOf (pages: string[]): Map<string, string> {
  return new Map(pages.flatMap((page) => listingsOf(page).map(({ name, code }) => [name, code] as const)))
}

export async function writeApp (folder: string, files: ReadonlyMap<string, string>): Promise<string> {
  for (const [name, code] of files) {
    await mkdir(dirname(join(folder, name)), { recursive: true })
    await writeFile(join(folder, name), code)
  }
  return folder
}

/** The application after so many steps. */
export async function writeStep (folder: string, step: number): Promise<string> {
  return await writeApp(join(folder, `step-${step}`), filesOf([SETUP, ...STEPS.slice(0, step)]))
}

/** Lines of a text that a longest common subsequence of both does not have, such as `3,7-9`; indentation and a comma at the end do not count. */
export function newLines (before: string, after: string): string {
  const [a, b] = [before, after].map((code) => code.trimEnd().split('\n').map((line) => line.trim().replace(/,$/, ''))) as [string[], string[]]
  const common = Array.from({ length: a.length + 1 }, () => new Array<number>(b.length + 1).fill(0))
  for (let i = a.length - 1; i >= 0; i--) {
    for (let j = b.length - 1; j >= 0; j--) common[i]![j] = a[i] === b[j] ? common[i + 1]![j + 1]! + 1 : Math.max(common[i + 1]![j]!, common[i]![j + 1]!)
  }
  const ranges: Array<[from: number, to: number]> = []
  for (let i = 0, j = 0; j < b.length;) {
    if (i < a.length && a[i] === b[j]) i++
    else if (i < a.length && common[i + 1]![j]! >= common[i]![j + 1]!) { i++; continue } else if (b[j] !== '') {
      if (ranges.at(-1)?.[1] === j) ranges.at(-1)![1] = j + 1
      else ranges.push([j + 1, j + 1])
    }
    j++
  }
  return ranges.map(([from, to]) => from === to ? String(from) : `${from}-${to}`).join()
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

/** Node.js's arguments to run a server: what `tsx server.ts` starts, and the server of those who leave out the types. */
export const TYPESCRIPT = ['--import', 'tsx', 'server.ts']
export const JAVASCRIPT = ['server.js']

/** Runs a server, and waits for the line that the pages show. */
export async function startApp (t: Test, folder: string, env: Record<string, string> = {}, args = TYPESCRIPT): Promise<App> {
  const { REDIS_URL: _, ...inherited } = process.env
  const child: ChildProcess = spawn(process.execPath, args, { cwd: folder, env: { ...inherited, PORT: '0', ...env }, stdio: ['ignore', 'pipe', 'pipe'] })
  t.teardown(() => { child.kill('SIGKILL') })
  let output = ''
  for (const stream of [child.stdout!, child.stderr!]) stream.setEncoding('utf8').on('data', (text: string) => { output += text; child.emit('printed') })
  const ended = once(child, 'close')
  const failed = ended.then(([code]) => { throw new Error(`the server ended with ${code}: ${output}`) })
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
