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
  /** Which way the bytes of connections to come are lost. */
  readonly #swallowing = new Set<Direction>()
  #isRefusing = false
  #isHolding = false

  constructor (targetPort: number) {
    this.#targetPort = targetPort
  }

  async listen (): Promise<this> {
    this.#server.listen(0, '127.0.0.1')
    await once(this.#server, 'listening')
    this.port = (this.#server.address() as AddressInfo).port
    return this
  }

  get connections (): number { return this.#sockets.size / 2 }

  /**
   * The connections that there are stay open, but what goes this way is lost from now on: half-open.
   * @param andNew also of connections to come, until `heal`; else those work
   */
  swallow (direction: Direction | 'both', { andNew = false } = {}): void {
    const ways: Direction[] = direction === 'both' ? ['up', 'down'] : [direction]
    for (const [socket, way] of this.#sockets) if (ways.includes(way)) this.#mute.add(socket)
    if (andNew) for (const way of ways) this.#swallowing.add(way)
  }

  /** Nothing is delivered, and nothing is lost, until `release`. */
  hold (): void {
    this.#isHolding = true
    for (const socket of this.#sockets.keys()) socket.pause()
  }

  release (): void {
    this.#isHolding = false
    for (const socket of this.#sockets.keys()) socket.resume()
  }

  /** Ends all connections, at once and without a word. */
  cut (): void {
    for (const socket of this.#sockets.keys()) reset(socket)
  }

  /** A partition, until `heal`. */
  refuse (): void {
    this.#isRefusing = true
    this.cut()
  }

  /** Connections to come work, and what was held is delivered; those that lost something stay as they are. */
  heal (): void {
    this.#isRefusing = false
    this.#swallowing.clear()
    this.release()
  }

  async close (): Promise<void> {
    this.cut()
    this.#server.close()
    await once(this.#server, 'close')
  }

  #accept (socket: Socket): void {
    if (this.#isRefusing) {
      reset(socket)
      return
    }
    const target = connect(this.#targetPort, '127.0.0.1')
    this.#pipe(socket, target, 'up')
    this.#pipe(target, socket, 'down')
  }

  #pipe (from: Socket, to: Socket, direction: Direction): void {
    this.#sockets.set(from, direction)
    if (this.#swallowing.has(direction)) this.#mute.add(from)
    from.setNoDelay(true)
    from.on('data', (data) => { if (!this.#mute.has(from)) to.write(data) })
    if (this.#isHolding) from.pause() // after the listener, which would let it flow
    from.on('error', () => { to.destroy() })
    from.on('close', () => {
      this.#sockets.delete(from)
      to.destroy()
    })
  }
}

/** libuv does not reset a socket that is shutting down, and Node.js 20 then never ends. */
function reset (socket: Socket): void {
  if (socket.readyState === 'open') socket.resetAndDestroy()
  else socket.destroy()
}

/** A proxy that ends with the test. */
export async function proxy (t: { teardown (fn: () => unknown): void }, targetPort: number): Promise<Proxy> {
  const made = await new Proxy(targetPort).listen()
  t.teardown(() => made.close())
  return made
}
