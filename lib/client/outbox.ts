/** Most messages in the queue, and most characters of their JSON. */
const MAX_MESSAGES = 1000
const MAX_SIZE = 4 * 1024 * 1024

interface Waiting { size: number, send: () => void }

/** Calls and events that wait, in order, for a connection; calls also for a place among those in flight. */
export class Outbox {
  /** Calls that were sent and never ran. They go first. The server's limit bounds their number. */
  readonly #returned = new Map<number, () => void>()
  readonly #waiting = new Map<number | symbol, Waiting>()
  #size = 0
  #events = 0
  #isFlushing = false

  /** @returns false if the queue is full */
  add (id: number | symbol, json: string, send: () => void): boolean {
    if (this.#waiting.size >= MAX_MESSAGES || this.#size + json.length > MAX_SIZE) return false
    this.#size += json.length
    if (typeof id === 'symbol') this.#events++
    this.#waiting.set(id, { size: json.length, send })
    return true
  }

  /** Queues a returned call before those that were never sent. */
  putBack (id: number, send: () => void): void {
    this.#returned.set(id, send)
  }

  delete (id: number | symbol): void {
    if (this.#returned.delete(id as number)) return
    const waiting = this.#waiting.get(id)
    if (waiting === undefined) return
    this.#waiting.delete(id)
    this.#size -= waiting.size
    if (typeof id === 'symbol') this.#events--
  }

  /** Sends what may be sent. Events do not wait for calls. */
  flush (mayCall: () => boolean): void {
    // reentrant: a call that cannot be sent makes room for the next one
    if (this.#isFlushing) return
    this.#isFlushing = true
    for (const [id, send] of this.#returned) {
      if (!mayCall()) break
      this.delete(id)
      send()
    }
    for (const [id, { send }] of this.#waiting) {
      if (typeof id === 'number' && !mayCall()) {
        if (this.#events === 0) break
        continue
      }
      this.delete(id)
      send()
    }
    this.#isFlushing = false
  }

  clear (): void {
    this.#returned.clear()
    this.#waiting.clear()
    this.#size = this.#events = 0
  }
}
