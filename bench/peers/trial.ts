import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { Scenario } from './catalog.js'
import { RESULT } from './control.js'
import type { Job, Outcome } from './load.js'
import type { Figures } from './measure.js'

/** ms, beside those of the measurement. */
const TIMEOUT = 120_000

const file = (name: string): string => fileURLToPath(new URL(name, import.meta.url))
const BUN = file('../../../bench/node_modules/.bin/bun')

/**
 * One peer in one scenario, once: a server (or two), a load generator, and both end.
 * @param profile folder for a CPU profile of each server in Node.js
 */
export async function trial (scenario: Scenario, peer: string, seconds: number, redis: string, profile?: string): Promise<Figures> {
  const env = { ...process.env, NODE_ENV: 'production', ...scenario.isCluster === true && { BENCH_REDIS: redis }, ...scenario.recovery === true && { BENCH_RECOVERY: '1' } }
  const [program, args] = peer === 'bun' ? [BUN, []] : [process.execPath, ['--expose-gc', ...profile === undefined ? [] : ['--cpu-prof', '--cpu-prof-dir', profile]]]
  const children: ChildProcess[] = []
  const start = (program: string, args: string[]): ChildProcess => {
    const child = spawn(program, args, { env, stdio: ['pipe', 'pipe', 'inherit'] })
    children.push(child)
    return child
  }
  const timer = setTimeout(() => { for (const child of children) child.kill('SIGKILL') }, TIMEOUT + seconds * 2000)
  try {
    const servers = []
    for (let i = 0; i < (scenario.isCluster === true ? 2 : 1); i++) servers.push(await json<Job['servers'][number]>(start(program, [...args, file('peer-server.js'), peer])))
    const job: Job = { scenario: scenario.file, variant: scenario.variant, peer, seconds, servers }
    const outcome = await json<Outcome>(start(process.execPath, [file('load.js'), JSON.stringify(job)]))
    if ('error' in outcome) throw new Error(outcome.error)
    return outcome.figures
  } finally {
    clearTimeout(timer)
    await Promise.all(children.map(async (child) => {
      if (child.exitCode !== null || child.signalCode !== null) return
      const ended = once(child, 'exit')
      // a server ends with its input, and has to write its profile
      if (profile === undefined) child.kill('SIGKILL')
      else child.stdin!.end()
      await ended
    }))
  }
}

/** The result that a process prints, among its log. */
async function json<T> (child: ChildProcess): Promise<T> {
  const lines = createInterface(child.stdout!)
  for await (const line of lines) {
    if (!line.startsWith(RESULT)) continue
    lines.close()
    child.stdout!.resume() // a log that nobody reads would stop the process
    return JSON.parse(line.slice(RESULT.length)) as T
  }
  throw new Error('a process ended without a result')
}
