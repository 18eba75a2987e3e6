import type { FrameTap, TappedConnection } from '../server/metrics/frame-tap.js'
import { decode, frameOf, keyOf } from './frame-text.js'
import { type FrameRow, MAX_FRAMES, type TailTarget } from './views.js'

/** Time in ms after which a tail ends that no viewer asks for. */
export const TAIL_LEASE = 5000
/** Maximum number of tails per node. Beyond it, the least recently asked tail is dropped. */
const MAX_TAILS = 20
/** Maximum number of frames to decode per second, for all tails. Other frames are only counted. */
const MAX_DECODED = 2000
/** Maximum number of frames of one answer, and of characters of their texts. */
const MAX_ANSWERED = 100
const MAX_TEXT = 128 * 1024

/** Returns the user of a connection. */
type UserOf = (id: string) => string
/** Returns the numbers of a key in compact patches: one per store that has the key. */
type NumbersOf = (key: string) => number[]

class Tail {
  frames: FrameRow[] = []
  next = 1
  /** Frames that were not decoded, because there were too many. */
  skipped = 0
  askedAt = 0
  /** The message of the last row. */
  last: Buffer | undefined

  constructor (readonly target: TailTarget) {}

  add (row: Omit<FrameRow, 'seq'>, message?: Buffer): void {
    this.last = message
    this.frames.push({ seq: this.next++, ...row })
    if (this.frames.length > MAX_FRAMES) this.frames.shift()
  }
}

/** The last frames of the connections and keys that viewers follow. A tail keeps the last MAX_FRAMES frames. */
export class FrameTails implements FrameTap {
  readonly #tails = new Map<string, Tail>()
  readonly #userOf: UserOf
  readonly #numbersOf: NumbersOf
  #second = 0
  #decoded = 0
  /** The last decoded message, its frame and its key: a cache, because a fan-out sends the same message many times. */
  #message: Buffer | undefined
  #frame: Buffer | undefined
  #key: string | number | undefined

  constructor (userOf: UserOf, numbersOf: NumbersOf) {
    this.#userOf = userOf
    this.#numbersOf = numbersOf
  }

  get size (): number { return this.#tails.size }

  /** Returns the frames after a cursor. The first request starts the tail. */
  ask (target: TailTarget, after: number, now = performance.now()): { frames: FrameRow[], next: number, lost: number } {
    const name = 'key' in target ? `key:${target.key}` : `connection:${target.connection}`
    let tail = this.#tails.get(name)
    if (tail === undefined) tail = new Tail(target)
    else this.#tails.delete(name)
    this.#tails.set(name, tail) // moves it to the end, as the most recently used
    for (const oldest of this.#tails.keys()) if (this.#tails.size > MAX_TAILS) this.#tails.delete(oldest)
    tail.askedAt = now
    // a larger cursor belongs to an earlier tail that has ended
    const from = after < tail.next ? after : 0
    const held = tail.frames.filter(({ seq }) => seq > from)
    const frames: FrameRow[] = []
    let size = 0
    for (const frame of held.slice(0, MAX_ANSWERED)) {
      size += frame.text.length
      if (size > MAX_TEXT && frames.length > 0) break
      frames.push(frame)
    }
    const first = held[0]?.seq ?? tail.next
    const overwritten = from === 0 ? 0 : first - from - 1
    const { skipped } = tail
    tail.skipped = 0
    return { frames, next: frames.at(-1)?.seq ?? from, lost: overwritten + skipped }
  }

  /** Ends tails that no viewer has asked for within TAIL_LEASE. */
  expire (now = performance.now()): void {
    for (const [name, { askedAt }] of this.#tails) if (now - askedAt > TAIL_LEASE) this.#tails.delete(name)
  }

  received (connection: TappedConnection, frame: Buffer, wireBytes: number): void {
    const { id } = connection
    for (const tail of this.#tails.values()) {
      const { target } = tail
      if ('connection' in target ? target.connection !== id : !this.#mayDecode(tail) || keyOf(frame, false) !== target.key) continue
      if ('connection' in target && !this.#mayDecode(tail)) continue
      tail.add({ at: Date.now(), direction: 'in', bytes: wireBytes, connection: id, user: this.#userOf(id), receivers: 1, ...decode(frame, false) })
    }
  }

  sent (connection: TappedConnection, message: Buffer): void {
    const { id } = connection
    for (const tail of this.#tails.values()) {
      const { target } = tail
      if ('connection' in target && target.connection !== id) continue
      if (tail.last === message && 'key' in target) {
        tail.frames.at(-1)!.receivers++
        continue
      }
      if (message !== this.#message && !this.#look(tail, message)) continue
      if (this.#frame === undefined || ('key' in target && !this.#isOf(target.key))) continue
      tail.add({ at: Date.now(), direction: 'out', bytes: message.length, connection: id, user: this.#userOf(id), receivers: 1, ...decode(this.#frame, true) }, message)
    }
  }

  #isOf (key: string): boolean {
    return typeof this.#key === 'number' ? this.#numbersOf(key).includes(this.#key) : this.#key === key
  }

  /** Decodes a message into the cache. @returns false if too many frames were decoded in this second */
  #look (tail: Tail, message: Buffer): boolean {
    if (!this.#mayDecode(tail)) return false
    this.#message = message
    this.#frame = frameOf(message)
    this.#key = this.#frame && keyOf(this.#frame, true)
    return true
  }

  #mayDecode (tail: Tail): boolean {
    const second = Math.floor(performance.now() / 1000)
    if (second !== this.#second) {
      this.#second = second
      this.#decoded = 0
    }
    if (this.#decoded++ < MAX_DECODED) return true
    tail.skipped++
    return false
  }
}
