import { execFile } from 'node:child_process'
import { chown, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { type Command, ServerProcess } from './server-process.js'

export interface PostgresServerOptions {
  /** Where `initdb` and `postgres` are. Default: what the test command found. */
  folder?: string
  /** Whether commits reach the disk, so that it keeps them after a crash of the machine. */
  isDurable?: boolean
  /** Of the superuser `postgres`; default none, everyone is trusted. */
  password?: string
  /** What starts it, such as a FakeClock. */
  under?: string[]
}

const run = promisify(execFile)

/** A Postgres on a port of its own, which it keeps when it is started again. */
export class PostgresServer {
  readonly process: ServerProcess
  readonly #folder: string
  readonly #password: string | undefined

  private constructor (folder: string, user: Command['user'], { folder: programs = process.env.POSTGRES_BIN ?? '', isDurable = false, password, under }: PostgresServerOptions) {
    this.#folder = folder
    this.#password = password
    const fast = isDurable ? [] : ['-c', 'fsync=off', '-c', 'full_page_writes=off']
    const args = ['-D', join(folder, 'data'), '-c', 'listen_addresses=127.0.0.1', '-c', 'unix_socket_directories=', '-c', 'max_connections=200', ...fast]
    this.process = new ServerProcess('Postgres', (port) => ({ program: join(programs, 'postgres'), args: [...args, '-p', String(port)], user, under }), /ready to accept connections/)
  }

  static async start (options: PostgresServerOptions = {}): Promise<PostgresServer> {
    const { folder: programs = process.env.POSTGRES_BIN ?? '', password } = options
    const user = await serverUser()
    // that user may have no way into our TMPDIR
    const folder = await mkdtemp(join(user === undefined ? tmpdir() : '/tmp', 'datasole-postgres-'))
    if (user !== undefined) await chown(folder, user.uid, user.gid)
    const passwordFile = join(folder, 'password')
    await writeFile(passwordFile, password ?? 'unused', { mode: 0o644 })
    const auth = password === undefined ? '--auth=trust' : '--auth=scram-sha-256'
    await run(join(programs, 'initdb'), ['-D', join(folder, 'data'), '-U', 'postgres', auth, `--pwfile=${passwordFile}`, '--no-sync', '--encoding=UTF8', '--locale=C'], { ...user, cwd: folder })
    const server = new PostgresServer(folder, user, options)
    await server.process.start()
    return server
  }

  get port (): number { return this.process.port }

  get url (): string {
    const password = this.#password === undefined ? '' : `:${this.#password}`
    return `postgres://postgres${password}@127.0.0.1:${this.port}/postgres`
  }

  /** After it was killed or stopped. */
  async restart (): Promise<void> {
    await this.process.start()
  }

  async close (): Promise<void> {
    await this.process.stop('SIGQUIT')
    await rm(this.#folder, { recursive: true })
  }
}

/** A Postgres that ends with the test. */
export async function postgresServer (t: { teardown (fn: () => unknown): void }, options?: PostgresServerOptions): Promise<PostgresServer> {
  const server = await PostgresServer.start(options)
  t.teardown(() => server.close())
  return server
}

/** Postgres refuses to run as root. */
async function serverUser (): Promise<Command['user']> {
  if (process.getuid?.() !== 0) return undefined
  const users = await readFile('/etc/passwd', 'utf8')
  const [, uid, gid] = /^postgres:[^:]*:(\d+):(\d+):/m.exec(users) ?? /^nobody:[^:]*:(\d+):(\d+):/m.exec(users)!
  return { uid: Number(uid), gid: Number(gid) }
}
