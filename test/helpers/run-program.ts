import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import type { Test } from 'tap'

/** A program that a test runs; it ends with the test. */
export interface Program {
  /** Resolves to the first part of the output that matches. Rejects if the program ends before. */
  line (pattern: RegExp): Promise<string>
  /** Ends it by SIGTERM. Resolves to its exit code. */
  stop (): Promise<unknown>
  /** The exit code. */
  readonly ended: Promise<unknown>
  /** All that it printed, once it has ended. */
  readonly output: Promise<string>
}

export function runProgram (t: Pick<Test, 'teardown'>, file: string, env: Record<string, string>): Program {
  const child: ChildProcess = spawn(process.execPath, [file], { env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] })
  t.teardown(() => { child.kill('SIGKILL') })
  let output = ''
  for (const stream of [child.stdout!, child.stderr!]) stream.setEncoding('utf8').on('data', (text: string) => { output += text; child.emit('printed') })
  const ended = once(child, 'exit').then(([code]) => code as unknown)
  return {
    ended,
    output: once(child, 'close').then(() => output),
    stop: async () => { child.kill('SIGTERM'); return await ended },
    line: (pattern) => new Promise((resolve, reject) => {
      const look = (): void => { if (pattern.test(output)) resolve(pattern.exec(output)![0]) }
      child.on('printed', look)
      child.on('exit', (code) => { reject(new Error(`${file} ended with ${code}: ${output}`)) })
      look()
    })
  }
}
