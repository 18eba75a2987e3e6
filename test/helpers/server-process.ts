import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { type AddressInfo, createServer } from 'node:net'
import { setTimeout } from 'node:timers/promises'

/** ms that a server may take to be ready. */
const START_TIMEOUT = 20_000

export interface Command {
  program: string
  args: string[]
  /** As whom it runs, where that is not us. */
  user?: { uid: number, gid: number }
}

/** A server of a test's own: it can be killed, stopped in its tracks and started again, and dies with the test. */
export class ServerProcess {
  readonly #name: string
  readonly #command: () => Command
  readonly #isReady: (output: string) => Promise<boolean>
  #process: ChildProcess | undefined
  #output = ''

  /** @param isReady asked until it is true, with what the server has said */
  constructor (name: string, command: () => Command, isReady: (output: string) => Promise<boolean>) {
    this.#name = name
    this.#command = command
    this.#isReady = isReady
  }

  /** @throws Error with the server's last words where it does not come up */
  async start (): Promise<void> {
    const { program, args, user } = this.#command()
    const identity = user === undefined ? [] : [`--reuid=${user.uid}`, `--regid=${user.gid}`, '--clear-groups']
    const [file, ...rest] = process.platform === 'linux' ? ['setpriv', ...identity, '--pdeathsig', 'KILL', '--', program, ...args] : [program, ...args]
    const child = this.#process = spawn(file!, rest, { stdio: ['ignore', 'pipe', 'pipe'] })
    this.#output = ''
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (data: Buffer) => { this.#output = (this.#output + String(data)).slice(-4000) })
    child.on('error', (error) => { this.#output += error.message })
    for (const deadline = Date.now() + START_TIMEOUT; ; await setTimeout(10)) {
      if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null || Date.now() > deadline) throw new Error(`${this.#name} did not start:\n${this.#output}`)
      if (await this.#isReady(this.#output)) return
    }
  }

  /** As a crash would end it. */
  async kill (): Promise<void> {
    await this.#end('SIGKILL')
  }

  /** @param signal by which the server ends soon */
  async stop (signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    await this.#end(signal)
  }

  /** Neither it nor its children do anything, but their connections stay, until `resume`. */
  async pause (): Promise<void> {
    for (const pid of await this.#pids()) process.kill(pid, 'SIGSTOP')
  }

  async resume (): Promise<void> {
    for (const pid of await this.#pids()) process.kill(pid, 'SIGCONT')
  }

  async #pids (): Promise<number[]> {
    const pid = this.#process!.pid!
    const children = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8').catch(() => '') // not on Linux
    return [pid, ...children.trim().split(' ').filter((child) => child !== '').map(Number)]
  }

  async #end (signal: NodeJS.Signals): Promise<void> {
    const child = this.#process
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return
    const ended = once(child, 'exit')
    child.kill(signal)
    child.kill('SIGCONT') // one that is paused would not hear it
    await ended
  }
}

/** A port that was free a moment ago. */
export async function freePort (): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}
