import { availableParallelism } from 'node:os'
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { TIMER, integer, invalid, isObject } from './checks.js'
import type { ExecutorOptions } from './server-options.js'

/** Options of the thread models, with every default applied. */
export interface ExecutorSettings {
  model: 'thread' | 'thread-pool'
  /** Most threads: `poolSize`, or `maxThreads`. */
  size: number
  /** URL of an ES module. */
  workerScript: string
  idleTimeout: number
  maxOldGenerationSizeMb: number | undefined
  execArgv: string[] | undefined
  maxQueue: number
  maxQueuePerConnection: number
  queueTimeoutMs: number
  stuckTimeoutMs: number
}

/** Integer options: default, least, most. */
const NUMBERS = {
  poolSize: [availableParallelism(), 1, 1024],
  maxThreads: [256, 1, 1024],
  idleTimeout: [30_000, 1, TIMER],
  maxOldGenerationSizeMb: [undefined, 8, 2 ** 20],
  maxQueue: [10_000, 1, 1_000_000],
  maxQueuePerConnection: [100, 1, 1_000_000],
  queueTimeoutMs: [5000, 1, TIMER],
  stuckTimeoutMs: [5000, 1, TIMER]
} as const

type Numbers = { -readonly [N in keyof typeof NUMBERS]: number | undefined }

/** @returns undefined for model `async`; `no script` for a thread model without a workerScript */
export function resolveExecutor (executor: Partial<ExecutorOptions> = {}): ExecutorSettings | 'no script' | undefined {
  if (!isObject(executor)) throw invalid('executor', 'must be an object')
  const { model = 'async', workerScript, execArgv } = executor
  if (!['async', 'thread', 'thread-pool'].includes(model)) throw invalid('executor.model', `must be "async", "thread" or "thread-pool", not ${JSON.stringify(model)}`)
  for (const name of Object.keys(executor)) {
    if (!['model', 'workerScript', 'execArgv'].includes(name) && !Object.hasOwn(NUMBERS, name)) throw invalid(`executor.${name}`, 'is not an option of datasole')
  }
  const numbers = {} as Numbers
  for (const name of Object.keys(NUMBERS) as Array<keyof Numbers>) {
    const [preset, least, most] = NUMBERS[name]
    const { [name]: value = preset } = executor
    numbers[name] = value === undefined ? undefined : integer(`executor.${name}`, value, least, most)
  }
  if (execArgv !== undefined && !(Array.isArray(execArgv) && execArgv.every((option) => typeof option === 'string'))) throw invalid('executor.execArgv', 'must be a list of strings')
  const script = workerScript === undefined ? undefined : urlOf(workerScript)
  if (model === 'async') {
    if (script !== undefined) throw invalid('executor.workerScript', 'needs model "thread" or "thread-pool"')
    return undefined
  }
  if (script === undefined) return 'no script'
  const { poolSize, maxThreads, ...others } = numbers as Record<keyof Numbers, number>
  return { ...others, model, size: model === 'thread' ? maxThreads : poolSize, workerScript: script, execArgv }
}

/** Resolves paths from the working directory. */
function urlOf (workerScript: unknown): string {
  if (workerScript instanceof URL && workerScript.protocol === 'file:') return workerScript.href
  if (typeof workerScript !== 'string' || workerScript === '') throw invalid('executor.workerScript', 'must be a path, or a file: URL')
  return workerScript.startsWith('file:') ? workerScript : pathToFileURL(resolve(workerScript)).href
}
