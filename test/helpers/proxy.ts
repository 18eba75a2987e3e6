import { once } from 'node:events'
import { type AddressInfo, type Socket, connect, createServer } from 'node:net'

export type Direction = 'up' | 'down'

/** A TCP proxy with the faults that a network has. */
export class Proxy {
  port = 0
  readonly #targetPort: number
  readonly #sockets = new Set<Socket>()
  readonly #server = createServer({ allowHalfOpen: false }, (socket) => { this.#accept(socket) })
  #swallowed = new Set<Direction>()
  #isRefusing = false

  constructor (targetPort: number) {
    this.#targetPort = targetPort
  }

  async listen (): Promise<this> {
    this.#server.listen(0, '127.0.0.1')
    await once(this.#server, 'listening')
    this.port = (this.#server.address() as AddressInfo).port
    return this
  }

  /** Connections stay open, but what goes this way is lost: half-open. */
  swallow (...directions: Direction[]): void {
    this.#swallowed = new Set(directions)
  }

  /** Ends all connections, at once and without a word. */
  cut (): void {
    for (const socket of this.#sockets) socket.resetAndDestroy()
  }

  /** A partition, until `heal`. */
  refuse (): void {
    this.#isRefusing = true
    this.cut()
  }

  /** New connections work; those that lost something do not, and are ended. */
  heal (): void {
    const wasFaulty = this.#swallowed.size > 0
    this.#isRefusing = false
    this.#swallowed = new Set()
    if (wasFaulty) this.cut()
  }

  async close (): Promise<void> {
    this.cut()
    this.#server.close()
    await once(this.#server, 'close')
  }

  #accept (socket: Socket): void {
    if (this.#isRefusing) {
      socket.resetAndDestroy()
      return
    }
    const target = connect(this.#targetPort, '127.0.0.1')
    this.#pipe(socket, target, 'up')
    this.#pipe(target, socket, 'down')
  }

  #pipe (from: Socket, to: Socket, direction: Direction): void {
    this.#sockets.add(from)
    from.setNoDelay(true)
    from.on('data', (data) => { if (!this.#swallowed.has(direction)) to.write(data) })
    from.on('error', () => { to.destroy() })
    from.on('close', () => {
      this.#sockets.delete(from)
      to.destroy()
    })
  }
}

/** A proxy that ends with the test. */
export async function proxy (t: { teardown (fn: () => unknown): void }, targetPort: number): Promise<Proxy> {
  const made = await new Proxy(targetPort).listen()
  t.teardown(() => made.close())
  return made
}
