import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { type AddressInfo, createServer } from 'node:net'
import { setTimeout } from 'node:timers/promises'

/** ms that a server may take to be ready. */
const START_TIMEOUT = 60_000

/** Why another port may do: somebody else has this one, or Redis as part of a Cluster needs the one 10,000 above it. */
const UNFIT_PORT = /address already in use|port number too high/i

/** With it servers die with us, even where we are killed; the programs of that name do not all have it. */
const hasSetpriv = spawnSync('setpriv', ['--pdeathsig', 'KILL', '--', 'true']).status === 0

export interface Command {
  program: string
  args: string[]
  /** As whom it runs, where that is not us. */
  user?: { uid: number, gid: number }
  /** What starts it, such as `env NAME=value`. */
  under?: string[]
}

/** A server of a test's own: it can be killed, stopped in its tracks and started again, and dies with the test. */
export class ServerProcess {
  readonly #name: string
  readonly #command: (port: number) => Command
  readonly #ready: RegExp
  #port: number | undefined
  #process: ChildProcess | undefined
  /** When all of its processes have ended: each holds its output open. */
  #closed: Promise<unknown> = Promise.resolve()
  #output = ''

  /** @param ready what it says when it is: an answer on its port might be another's */
  constructor (name: string, command: (port: number) => Command, ready: RegExp) {
    this.#name = name
    this.#command = command
    this.#ready = ready
  }

  /** On 127.0.0.1, chosen by the first start. */
  get port (): number { return this.#port! }

  /** @throws Error with the server's last words where it does not come up */
  async start (): Promise<void> {
    if (this.#port !== undefined) return await this.#launch(this.#port)
    for (let attempts = 10; this.#port === undefined; attempts--) {
      const port = await freePort()
      try {
        await this.#launch(port)
        this.#port = port
      } catch (error) {
        if (attempts === 1 || !UNFIT_PORT.test(this.#output)) throw error
      }
    }
  }

  /** As a crash would end it: all of its processes, at once. */
  async kill (): Promise<void> {
    await this.#signal('SIGKILL')
    await this.#closed
  }

  /** @param signal by which the server ends soon */
  async stop (signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    await this.resume() // one that is paused would not hear it
    this.#process?.kill(signal)
    await this.#closed
  }

  /** Neither it nor its children do anything, but their connections stay, until `resume`. */
  async pause (): Promise<void> {
    await this.#signal('SIGSTOP')
  }

  async resume (): Promise<void> {
    await this.#signal('SIGCONT')
  }

  async #launch (port: number): Promise<void> {
    const { program, args, user, under = [] } = this.#command(port)
    const [first, ...rest] = [...under, program, ...args]
    // setpriv has to do both: who becomes another user is no longer told of a parent's death
    const identity = user === undefined ? [] : [`--reuid=${user.uid}`, `--regid=${user.gid}`, '--clear-groups']
    const [file, all, as] = hasSetpriv ? ['setpriv', [...identity, '--pdeathsig', 'KILL', '--', first!, ...rest]] : [first!, rest, user]
    const child = spawn(file, all, { stdio: ['ignore', 'pipe', 'pipe'], ...as })
    this.#process = child
    this.#closed = new Promise((resolve) => child.on('close', resolve))
    this.#output = ''
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (data: Buffer) => { this.#output = (this.#output + String(data)).slice(-4000) })
    child.on('error', (error) => { this.#output += error.message })
    for (const deadline = Date.now() + START_TIMEOUT; !this.#ready.test(this.#output); await setTimeout(10)) {
      if (!this.#isGone && Date.now() < deadline) continue
      await this.kill()
      throw new Error(`${this.#name} did not start:\n${this.#output}`)
    }
  }

  get #isGone (): boolean {
    const child = this.#process
    return child?.pid === undefined || child.exitCode !== null || child.signalCode !== null
  }

  /** To it and to its children: a Postgres has one for each connection, and a busy one would outlive its parent. */
  async #signal (signal: NodeJS.Signals): Promise<void> {
    if (this.#isGone) return
    const pid = this.#process!.pid!
    process.kill(pid, 'SIGSTOP') // it gets no more children meanwhile
    const children = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8').catch(() => '') // not on Linux
    for (const each of [...children.split(' ').filter((child) => child !== '').map(Number), pid]) {
      try {
        process.kill(each, signal)
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error // else it has ended by itself
      }
    }
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
