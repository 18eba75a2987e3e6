import { type ChildProcess, spawn } from 'node:child_process'
import { readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import type { Test } from 'tap'

/** The folders of pages that are tested alike: every snippet names its file, has the right types, and runs where it can. */
export const folders = ['beside', 'from', 'run'] as const

/** Paths of the pages, from the root of the repository. */
export const pages = [...folders.flatMap((folder) => readdirSync(`docs/${folder}`).sort().map((name) => `docs/${folder}/${name}`)), 'docs/comparison.md']

export interface Snippet {
  language: string
  /** The name in the first line, such as `server.ts`; undefined if there is none. */
  file: string | undefined
  code: string
}

/** All fenced blocks of a page. */
export function blocksOf (path: string): Snippet[] {
  return Array.from(readFileSync(path, 'utf8').matchAll(/^```(\w*)\n([\s\S]*?)^```$/gm), ([, language, text]) => {
    const named = /^ ?(?:\/\/|#|--) (\S*\.\w+|Dockerfile|Caddyfile)\n/.exec(text!)
    return { language: language!, file: named?.[1], code: text!.slice(named?.[0].length ?? 0) }
  })
}

const side = (diff: string, sign: '+' | '-'): string =>
  diff.split('\n').filter((line) => line === '' || line[0] === sign || line[0] === ' ').map((line) => line.slice(1)).join('\n')

/** The TypeScript and JavaScript of a page, by file; of a diff the new side, or with `-` the one that it starts from. */
export function sourcesOf (path: string, sign: '+' | '-' = '+'): Map<string, string> {
  return new Map(blocksOf(path).flatMap(({ language, file, code }): Array<[string, string]> => {
    if (language === 'diff') return [[file!, side(code, sign)]]
    return ['ts', 'tsx', 'js'].includes(language) ? [[file!, code]] : []
  }))
}

export interface Running {
  port: number
  output: () => string
  line: (pattern: RegExp) => Promise<string>
  stop: () => Promise<number | null>
}

/** Runs a compiled snippet in a process of its own until the test ends. */
export function program (t: Test, folder: string, name: string, env: Record<string, string> = {}): Omit<Running, 'port'> {
  const child: ChildProcess = spawn(process.execPath, [join(folder, name)], { env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] })
  t.teardown(() => { child.kill('SIGKILL') })
  let output = ''
  for (const stream of [child.stdout!, child.stderr!]) stream.setEncoding('utf8').on('data', (text: string) => { output += text; child.emit('printed') })
  const ended = new Promise<number | null>((resolve) => { child.once('exit', resolve) })
  return {
    output: () => output,
    stop: async () => { child.kill('SIGTERM'); return await ended },
    line: (pattern) => new Promise((resolve, reject) => {
      const look = (): void => { if (pattern.test(output)) resolve(pattern.exec(output)![0]) }
      child.on('printed', look)
      child.on('exit', (code) => { look(); reject(new Error(`${name} ended with ${code}: ${output}`)) })
      look()
    })
  }
}

/** Runs a server that takes its port from `PORT` and prints its address. */
export async function serve (t: Test, folder: string, name = 'server.js', env: Record<string, string> = {}): Promise<Running> {
  const running = program(t, folder, name, { PORT: '0', ...env })
  const printed = await running.line(/port: (\d+)|:(\d+)/)
  return { ...running, port: Number(/\d+/.exec(printed)![0]) }
}
