import type { FrameTap, TappedConnection } from '../server/metrics/frame-tap.js'
import { decode, frameOf, keyOf } from './frame-text.js'
import { type FrameRow, MAX_FRAMES, type TailTarget } from './views.js'

/** ms after which a tail ends that nobody asks for. */
export const TAIL_LEASE = 5000
/** Tails of a node at once; the one that was asked for longest ago makes room. */
const MAX_TAILS = 20
/** Frames that are looked at in a second, for all tails; the others are counted. */
const MAX_DECODED = 2000
/** Frames of one answer, and characters of their texts. */
const MAX_ANSWERED = 100
const MAX_TEXT = 128 * 1024

/** The user of a connection, for a row. */
type UserOf = (id: string) => string
/** The numbers that stand for a key in compact patches: one for each store that has it. */
type NumbersOf = (key: string) => number[]

class Tail {
  frames: FrameRow[] = []
  next = 1
  /** Frames that were too many to be decoded. */
  skipped = 0
  askedAt = 0
  /** The message that the last row shows. */
  last: Buffer | undefined

  constructor (readonly target: TailTarget) {}

  add (row: Omit<FrameRow, 'seq'>, message?: Buffer): void {
    this.last = message
    this.frames.push({ seq: this.next++, ...row })
    if (this.frames.length > MAX_FRAMES) this.frames.shift()
  }
}

/** The last frames of connections and keys that somebody follows. Each tail is a ring of MAX_FRAMES. */
export class FrameTails implements FrameTap {
  readonly #tails = new Map<string, Tail>()
  readonly #userOf: UserOf
  readonly #numbersOf: NumbersOf
  #second = 0
  #decoded = 0
  /** The message that was looked at last, and its key: a fan-out sends the same one again and again. */
  #message: Buffer | undefined
  #frame: Buffer | undefined
  #key: string | number | undefined

  constructor (userOf: UserOf, numbersOf: NumbersOf) {
    this.#userOf = userOf
    this.#numbersOf = numbersOf
  }

  get size (): number { return this.#tails.size }

  /** Frames after a cursor; the first question begins the tail. */
  ask (target: TailTarget, after: number, now = performance.now()): { frames: FrameRow[], next: number, lost: number } {
    const name = 'key' in target ? `key:${target.key}` : `connection:${target.connection}`
    let tail = this.#tails.get(name)
    if (tail === undefined) tail = new Tail(target)
    else this.#tails.delete(name)
    this.#tails.set(name, tail) // the last one
    for (const oldest of this.#tails.keys()) if (this.#tails.size > MAX_TAILS) this.#tails.delete(oldest)
    tail.askedAt = now
    // a cursor of a tail that has ended meanwhile
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

  /** Ends those that nobody has asked for. */
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

  /** False where too many frames were looked at in this second. */
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
