/** Bounds of the keys that are cached without being needed. */
const MAX_KEYS = 10_000
const MAX_BYTES = 64 * 1024 * 1024

/**
 * Number of added keys after which the iterator is replaced. It keeps every table in memory that the map has had since
 * the iterator's last step.
 */
const ITERATOR_LIFE = 1000

/** Keys that nobody on this node needs now, cached for later. Evicts the least recently used. */
export class IdleKeys {
  readonly #sizes = new Map<string, number>()
  readonly #evict: (key: string) => void
  readonly #maxKeys: number
  #bytes = 0
  /** Stands before the oldest key. A new iterator for each eviction would skip all the entries removed before, each time. */
  #oldest = this.#sizes.keys()
  #added = 0

  constructor (evict: (key: string) => void, maxKeys = MAX_KEYS) {
    this.#evict = evict
    this.#maxKeys = maxKeys
  }

  /** @param size bytes of the value's JSON */
  add (key: string, size: number): void {
    this.remove(key)
    this.#sizes.set(key, size)
    this.#bytes += size
    if (++this.#added % ITERATOR_LIFE === 0) this.#oldest = this.#sizes.keys()
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
