import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ServerProcess } from './server-process.js'

export interface RedisServerOptions {
  /** Default: the one that the test command found. */
  program?: string
  /** Whether it writes each commit to disk before it answers. */
  isDurable?: boolean
  /** More arguments, such as `--cluster-enabled yes`. */
  args?: string[]
  /** What starts it, such as a FakeClock. */
  under?: string[]
}

/** A Redis on a port of its own, which it keeps when it is started again. */
export class RedisServer {
  readonly process: ServerProcess
  readonly #folder: string
  /** Those that a restart adds. */
  #more: string[] = []

  private constructor (folder: string, { program = process.env.REDIS_SERVER ?? 'redis-server', isDurable = false, args = [], under }: RedisServerOptions) {
    this.#folder = folder
    const durable = isDurable ? ['--appendonly', 'yes', '--appendfsync', 'always'] : []
    const all = ['--bind', '127.0.0.1', '--dir', folder, '--save', '', ...durable, ...args]
    this.process = new ServerProcess('Redis', (port) => ({ program, args: ['--port', String(port), ...all, ...this.#more], under }), /ready to accept connections/i)
  }

  static async start (options: RedisServerOptions = {}): Promise<RedisServer> {
    const server = new RedisServer(await mkdtemp(join(tmpdir(), 'datasole-redis-')), options)
    await server.process.start()
    return server
  }

  get port (): number { return this.process.port }

  get url (): string { return `redis://127.0.0.1:${this.port}` }

  /** After it was killed or stopped. */
  async restart ({ keepsData, args = [] }: { keepsData: boolean, args?: string[] }): Promise<void> {
    this.#more = args
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
