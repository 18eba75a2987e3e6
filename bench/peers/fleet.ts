import { now } from './control.js'
import { Kind, type Protocol } from './peer.js'
import { RawSocket } from './raw-socket.js'

/** Ids that are free again long before they come round, and the results. */
export const CALLS = Array.from({ length: 100 }, (_, i) => [i + 1, { text: 'hello', n: i + 1 }] as const)

/** Of each batch of connections. */
const WATCHED = 3

/** Connections to one server, and what they have had of a run of operations. */
export class Fleet {
  readonly sockets: RawSocket[] = []
  readonly #protocol: Protocol
  readonly #port: number
  /** How many connections have had so many operations. */
  #reached: number[] = []
  #complete = 0
  /** When each delivery came, by operation; only where it is asked for. */
  arrivals: number[][] | undefined
  /** A few of the connections, of which all that they get is checked in the end. */
  readonly watched: RawSocket[] = []

  constructor (protocol: Protocol, port: number) {
    this.#protocol = protocol
    this.#port = port
  }

  /**
   * @param atOnce connections that are on their way at a time
   * @param onMade called before a connection is open
   * @param onReady called for each that is usable
   */
  async connect (count: number, atOnce = 100, onMade?: (socket: RawSocket, index: number) => void, onReady?: (socket: RawSocket) => void): Promise<void> {
    let left = count
    const one = async (): Promise<void> => {
      while (left > 0) {
        const index = --left
        const { path } = this.#protocol
        const found = typeof path === 'string' ? path : await path(this.#port)
        await new Promise<void>((resolve) => {
          const socket = new RawSocket(this.#protocol, this.#port, found, () => {
            onReady?.(socket)
            resolve()
          })
          if (index % Math.ceil(count / WATCHED) === 0) {
            socket.keepLog()
            this.watched.push(socket)
          }
          onMade?.(socket, index)
          this.sockets.push(socket)
        })
      }
    }
    await Promise.all(Array.from({ length: Math.min(atOnce, count) }, one))
  }

  /** Resolves when every connection has got the key's value. */
  async subscribe (key: string): Promise<void> {
    const { subscribe } = this.#protocol
    if (subscribe === undefined) return // the value came with the connection
    let missing = this.sockets.length
    await new Promise<void>((resolve) => {
      RawSocket.onMessage = (_socket, kind) => { if (kind === Kind.SNAPSHOT && --missing === 0) resolve() }
      for (const socket of this.sockets) socket.send(...subscribe(key, socket, false))
    })
  }

  /** From here on, `onComplete` hears how many operations all have had. */
  count (isCounted: (kind: Kind) => boolean, onComplete: (count: number) => void): (socket: RawSocket) => void {
    this.#reached = []
    this.#complete = 0
    for (const socket of this.sockets) socket.count = 0
    const counted = (socket: RawSocket): void => {
      const first = socket.count
      socket.count += socket.covers
      for (let i = first; i < socket.count; i++) {
        this.#reached[i] = (this.#reached[i] ?? 0) + 1
        if (this.arrivals !== undefined) (this.arrivals[i] ??= []).push(now())
      }
      const before = this.#complete
      while (this.#reached[this.#complete] === this.sockets.length) this.#complete++
      if (this.#complete > before) onComplete(this.#complete)
    }
    RawSocket.onMessage = (socket, kind) => { if (isCounted(kind)) counted(socket) }
    return counted
  }

  /** A call leaves each time that one is answered; `onReply` gets how long it took (ms). */
  caller (onReply: (ms: number) => void): { reply (socket: RawSocket): void, call (socket: RawSocket): void } {
    const frames = CALLS.map(([id]) => this.#protocol.echo(id))
    return {
      reply (socket) { onReply(performance.now() - socket.calls.shift()!) },
      call (socket) {
        socket.calls.push(performance.now())
        socket.send(frames[socket.nextId++ % frames.length]!)
      }
    }
  }

  get bytes (): number {
    return this.sockets.reduce((sum, socket) => sum + socket.bytes, 0)
  }

  drop (): void {
    for (const socket of this.sockets) socket.destroy()
    this.sockets.length = 0
    this.watched.length = 0
  }
}
