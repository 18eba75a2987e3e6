import { once } from 'node:events'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ServerProcess, freePort } from './server-process.js'

export interface RedisServerOptions {
  /** Default: the one that the test command found. */
  program?: string
  /** Whether it writes each commit to disk before it answers. */
  isDurable?: boolean
  /** More arguments, such as `--cluster-enabled yes`. */
  args?: string[]
}

/** A Redis on a port of its own, which it keeps when it is started again. */
export class RedisServer {
  readonly port: number
  readonly process: ServerProcess
  readonly #folder: string

  private constructor (port: number, folder: string, { program = process.env.REDIS_SERVER ?? 'redis-server', isDurable = false, args = [] }: RedisServerOptions) {
    this.port = port
    this.#folder = folder
    const durable = isDurable ? ['--appendonly', 'yes', '--appendfsync', 'always'] : []
    const all = ['--port', String(port), '--bind', '127.0.0.1', '--dir', folder, '--save', '', ...durable, ...args]
    this.process = new ServerProcess('Redis', () => ({ program, args: all }), () => answersPing(port))
  }

  static async start (options: RedisServerOptions = {}): Promise<RedisServer> {
    const server = new RedisServer(await freePort(), await mkdtemp(join(tmpdir(), 'datasole-redis-')), options)
    await server.process.start()
    return server
  }

  get url (): string { return `redis://127.0.0.1:${this.port}` }

  /** After it was killed or stopped. */
  async restart ({ keepsData }: { keepsData: boolean }): Promise<void> {
    if (!keepsData) {
      await rm(this.#folder, { recursive: true })
      await mkdir(this.#folder)
    }
    await this.process.start()
  }

  async close (): Promise<void> {
    await this.process.kill()
    await rm(this.#folder, { recursive: true })
  }
}

/** A Redis that ends with the test. */
export async function redisServer (t: { teardown (fn: () => unknown): void }, options?: RedisServerOptions): Promise<RedisServer> {
  const server = await RedisServer.start(options)
  t.teardown(() => server.close())
  return server
}

/** Anything but that it is still loading is an answer, also that a password is needed. */
async function answersPing (port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1')
  try {
    await once(socket, 'connect')
    socket.write('PING\r\n')
    const [answer] = await once(socket, 'data') as [Buffer]
    return /^(\+PONG|-NOAUTH)/.test(String(answer))
  } catch {
    return false // not yet
  } finally {
    socket.destroy()
  }
}
