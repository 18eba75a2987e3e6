import { Opcode } from '../../protocol/opcodes.js'
import { encodeMessage } from './encoding.js'
import type { FrameHandler } from './frame-handler.js'
import type { Hub } from './hub.js'

/** Pings all connections from one timer, and answers the pings of clients. */
export class Heartbeat {
  readonly #hub: Hub
  readonly #ms: number
  #timer: NodeJS.Timeout | undefined

  readonly frames: { readonly [Opcode.PING]: FrameHandler } = {
    [Opcode.PING]: {
      read () {},
      handle (connection, correlationId) { connection.send(encodeMessage(Opcode.PONG, correlationId, 'null', Infinity)) }
    }
  }

  constructor (hub: Hub, ms: number) {
    this.#hub = hub
    this.#ms = ms
  }

  start (): void {
    this.#timer = setInterval(() => { for (const connection of this.#hub) connection.beat() }, this.#ms).unref()
  }

  stop (): void {
    clearInterval(this.#timer)
  }
}
