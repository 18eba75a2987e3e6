/** What waits for a connection, at the most: messages, and characters of JSON. */
const MAX_MESSAGES = 1000
const MAX_SIZE = 4 * 1024 * 1024

/** Calls and events that were made while there is no connection, in order. */
export class Outbox {
  readonly #waiting = new Map<number | symbol, { size: number, send: () => void }>()
  #size = 0

  /** False where there is no room. */
  add (id: number | symbol, json: string, send: () => void): boolean {
    if (this.#waiting.size >= MAX_MESSAGES || this.#size + json.length > MAX_SIZE) return false
    this.#size += json.length
    this.#waiting.set(id, { size: json.length, send })
    return true
  }

  delete (id: number | symbol): void {
    this.#size -= this.#waiting.get(id)?.size ?? 0
    this.#waiting.delete(id)
  }

  flush (): void {
    const waiting = [...this.#waiting.values()]
    this.clear()
    for (const { send } of waiting) send()
  }

  clear (): void {
    this.#waiting.clear()
    this.#size = 0
  }
}
