import { once } from 'node:events'
import { type AddressInfo, type Socket, connect, createServer } from 'node:net'

export type Direction = 'up' | 'down'

/** A TCP proxy with the faults that a network has. */
export class Proxy {
  port = 0
  readonly #targetPort: number
  /** Which way the bytes go that arrive on a socket. */
  readonly #sockets = new Map<Socket, Direction>()
  readonly #server = createServer({ allowHalfOpen: false }, (socket) => { this.#accept(socket) })
  /** Those whose bytes are lost. */
  readonly #mute = new WeakSet<Socket>()
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

  /** The connections that there are stay open, but what goes this way is lost from now on: half-open. New ones work. */
  swallow (direction: Direction): void {
    for (const [socket, way] of this.#sockets) if (way === direction) this.#mute.add(socket)
  }

  /** Ends all connections, at once and without a word. */
  cut (): void {
    for (const socket of this.#sockets.keys()) socket.resetAndDestroy()
  }

  /** A partition, until `heal`. */
  refuse (): void {
    this.#isRefusing = true
    this.cut()
  }

  heal (): void {
    this.#isRefusing = false
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
    this.#sockets.set(from, direction)
    from.setNoDelay(true)
    from.on('data', (data) => { if (!this.#mute.has(from)) to.write(data) })
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
