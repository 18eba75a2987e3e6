import type { Hub } from './hub.js'

/** Pings every connection, by one timer for all of them. */
export class Heartbeat {
  readonly #hub: Hub
  readonly #ms: number
  #timer: NodeJS.Timeout | undefined

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
