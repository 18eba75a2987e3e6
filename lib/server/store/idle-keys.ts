/** Bounds of the keys that are cached without being needed. */
const MAX_KEYS = 10_000
const MAX_BYTES = 64 * 1024 * 1024

/** Keys that nobody on this node needs now, cached for later. Evicts the least recently used. */
export class IdleKeys {
  readonly #sizes = new Map<string, number>()
  readonly #evict: (key: string) => void
  readonly #maxKeys: number
  #bytes = 0
  /** Stands before the oldest. A new iterator would pass all that was removed since the map was last rehashed. */
  readonly #oldest = this.#sizes.keys()

  constructor (evict: (key: string) => void, maxKeys = MAX_KEYS) {
    this.#evict = evict
    this.#maxKeys = maxKeys
  }

  /** @param size bytes of the value's JSON */
  add (key: string, size: number): void {
    this.remove(key)
    this.#sizes.set(key, size)
    this.#bytes += size
    while (this.#sizes.size > this.#maxKeys || this.#bytes > MAX_BYTES) {
      const oldest = this.#oldest.next().value!
      this.remove(oldest)
      this.#evict(oldest)
    }
  }

  remove (key: string): void {
    this.#bytes -= this.#sizes.get(key) ?? 0
    this.#sizes.delete(key)
  }
}
