import type { OutboxOptions } from './client-options.js'

/** Bounds of the queue: the number of messages, and the characters of their JSON. */
const MAX_MESSAGES = 1000
const MAX_SIZE = 4 * 1024 * 1024

interface Waiting { size: number, since: number, send: () => void }

/** Calls and events queued until the client is connected. Calls also wait until fewer calls are in flight. */
export class Outbox {
  /** Calls that were sent but never ran. They are sent first. The server's limit bounds their number. */
  readonly #returned = new Map<number, () => void>()
  readonly #waiting = new Map<number | symbol, Waiting>()
  #size = 0
  #events = 0
  #isFlushing = false
  readonly #maxEvents: number
  readonly #maxAgeMs: number

  constructor ({ maxEvents = MAX_MESSAGES, maxAgeMs = Infinity }: OutboxOptions = {}) {
    this.#maxEvents = maxEvents
    this.#maxAgeMs = maxAgeMs
  }

  /** @returns false if the queue is full */
  add (id: number | symbol, json: string, send: () => void): boolean {
    const isEvent = typeof id === 'symbol'
    if (isEvent) this.#dropOld()
    if (this.#waiting.size >= MAX_MESSAGES || (isEvent && this.#events >= this.#maxEvents) || this.#size + json.length > MAX_SIZE) return false
    this.#size += json.length
    if (isEvent) this.#events++
    this.#waiting.set(id, { size: json.length, since: performance.now(), send })
    return true
  }

  /** Queues a returned call ahead of those that were never sent. */
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

  /** Sends all events, and calls as long as `mayCall` allows. Events do not wait for calls. */
  flush (mayCall: () => boolean): void {
    // reentrant: a call that fails to be sent makes room and flushes again
    if (this.#isFlushing) return
    this.#isFlushing = true
    this.#dropOld()
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

  /** @param keepsEvents whether to drop only calls */
  clear (keepsEvents: boolean): void {
    this.#returned.clear()
    for (const id of this.#waiting.keys()) if (!keepsEvents || typeof id === 'number') this.delete(id)
  }

  /** Drops events older than `maxAgeMs`. */
  #dropOld (): void {
    if (this.#maxAgeMs === Infinity) return
    const oldest = performance.now() - this.#maxAgeMs
    for (const [id, { since }] of this.#waiting) if (typeof id === 'symbol' && since < oldest) this.delete(id)
  }
}
