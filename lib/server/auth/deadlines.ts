/** Longest timer (ms) of Node.js. A longer one fires at once. */
const MAX_TIMER = 2 ** 31 - 1

/** An item with a due time. `Deadlines` owns its fields. */
export interface Deadline {
  /** Monotonic ms, as of `performance.now()`. */
  due: number
  /** Index in the heap; -1 if it is not in one. */
  place: number
}

/**
 * Any number of deadlines on one timer. With a binary heap, adding and deleting are cheap, and a deleted item is
 * released at once.
 */
export class Deadlines<T extends Deadline> {
  readonly #heap: T[] = []
  readonly #reached: (item: T) => void
  #timer: NodeJS.Timeout | undefined
  #timerDue = Infinity

  /** @param reached gets each item once, after it was removed because it is due; must not throw */
  constructor (reached: (item: T) => void) {
    this.#reached = reached
  }

  get size (): number { return this.#heap.length }

  add (item: T): void {
    item.place = this.#heap.push(item) - 1
    this.#rise(item)
    this.#arm()
  }

  /** Does nothing if the item is not in the heap. */
  delete (item: T): void {
    const { place } = item
    if (place < 0) return
    const last = this.#heap.pop()!
    item.place = -1
    if (last === item) return
    this.#put(last, place)
    this.#rise(last)
    this.#sink(last)
  }

  clear (): void {
    clearTimeout(this.#timer)
    this.#timerDue = Infinity
    for (const item of this.#heap) item.place = -1
    this.#heap.length = 0
  }

  /** Keeps a timer that fires too early: one useless check is cheaper than a new timer for each change. */
  #arm (): void {
    const first = this.#heap[0]
    if (first === undefined || first.due >= this.#timerDue) return
    clearTimeout(this.#timer)
    const wait = Math.min(MAX_TIMER, Math.max(1, Math.ceil(first.due - performance.now())))
    this.#timerDue = first.due
    this.#timer = setTimeout(() => { this.#look() }, wait)
    this.#timer.unref()
  }

  #look (): void {
    this.#timerDue = Infinity
    const now = performance.now()
    for (let first = this.#heap[0]; first !== undefined && first.due <= now; first = this.#heap[0]) {
      this.delete(first)
      this.#reached(first)
    }
    this.#arm()
  }

  #rise (item: T): void {
    for (;;) {
      const above = this.#heap[(item.place - 1) >> 1]
      if (item.place === 0 || above!.due <= item.due) return
      this.#swap(item, above!)
    }
  }

  #sink (item: T): void {
    for (;;) {
      const left = this.#heap[item.place * 2 + 1]
      const right = this.#heap[item.place * 2 + 2]
      const below = right !== undefined && right.due < left!.due ? right : left
      if (below === undefined || below.due >= item.due) return
      this.#swap(item, below)
    }
  }

  #swap (a: T, b: T): void {
    const { place } = a
    this.#put(a, b.place)
    this.#put(b, place)
  }

  #put (item: T, place: number): void {
    this.#heap[place] = item
    item.place = place
  }
}
