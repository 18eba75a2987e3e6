import { EventEmitter, once } from 'node:events'
import { Opcode } from '../../lib/protocol/opcodes.js'
import { applyPatch } from '../../lib/protocol/patch.js'
import { ShortForms } from './short-forms.js'
import { type Received, type Wire, decode } from './wire.js'
import { inTime } from './until.js'

export interface Held { epoch: string, version: number, value: unknown }

/**
 * A version 2 client's mirror of live state, by the rules of the protocol and no cleverness of its
 * own. It outlives connections: `use` gives it the next one, on which it recovers.
 */
export class Mirror {
  readonly held = new Map<string, Held>()
  readonly wanted = new Set<string>()
  /** What no server may do to it. */
  readonly complaints: string[] = []
  /** Frames of state that it got, by kind. */
  patches = 0
  snapshots = 0
  #wire: Wire | undefined
  readonly #newest = new Map<string, number>()
  readonly #asked = new Map<number, string>()
  /** Keys that it asked for on this connection: an answer to a second time may cross patches on their way. */
  readonly #known = new Set<string>()
  readonly #dropped = new Set<number>()
  readonly #restless = new Set<string>()
  readonly #news = new EventEmitter().setMaxListeners(0)

  /** Takes a new connection, and subscribes to all that it wants, with what it holds. */
  use (wire: Wire): void {
    this.#wire = wire
    this.#asked.clear()
    this.#known.clear()
    this.#dropped.clear()
    this.#restless.clear()
    const short = new ShortForms()
    wire.socket.on('message', (data: Buffer) => {
      const frame = decode(data, short)
      if (this.#wire === wire) this.#take(frame)
      this.#news.emit('news')
    })
    for (const key of this.wanted) this.#ask(key)
  }

  subscribe (key: string): void {
    this.wanted.add(key)
    this.#ask(key)
  }

  unsubscribe (key: string): void {
    if (!this.wanted.delete(key)) return
    // no answer is due any more, but one may be on its way
    for (const [id, asked] of this.#asked) if (asked === key) this.#dropped.add(id)
    this.#wire!.send(Opcode.UNSUBSCRIBE, 0, { key })
  }

  /** Looks after every frame. */
  async until (isTrue: (mirror: this) => boolean): Promise<void> {
    while (!isTrue(this)) await inTime(once(this.#news, 'news'), () => `a frame after which ${isTrue.toString()}`)
  }

  value (key: string): unknown { return this.held.get(key)?.value }

  /** Whether every SUBSCRIBE was answered. */
  get isAnswered (): boolean { return [...this.#asked.keys()].every((id) => this.#dropped.has(id)) }

  #ask (key: string): void {
    const id = this.#wire!.id()
    const held = this.held.get(key)
    this.#asked.set(id, key)
    if (this.#known.has(key)) this.#restless.add(key)
    this.#known.add(key)
    this.#wire!.send(Opcode.SUBSCRIBE, id, { key, epoch: held?.epoch, version: held?.version })
  }

  #take ({ opcode, id, payload }: Received): void {
    if (opcode !== Opcode.STATE_PATCH && opcode !== Opcode.STATE_SNAPSHOT) return
    const { key, epoch, version } = payload
    if (id !== 0 && !this.#asked.delete(id)) this.complaints.push(`an answer to ${id}, which waits for none`)
    const held = this.held.get(key)
    const life = `${key}\n${epoch}`
    if (version < (this.#newest.get(life) ?? 0)) this.complaints.push(`"${key}" went back to version ${version}`)
    this.#newest.set(life, version)
    if (opcode === Opcode.STATE_SNAPSHOT) {
      this.snapshots++
      if ((version === 0) !== !('data' in payload)) this.complaints.push(`a snapshot of version ${version} ${'data' in payload ? 'with' : 'without'} data`)
      this.held.set(key, { epoch, version, value: payload.data })
      return
    }
    this.patches++
    if (held === undefined) {
      this.complaints.push(`a patch of "${key}" before its snapshot`)
    } else if (held.epoch === epoch && held.version === payload.from) {
      this.held.set(key, { epoch, version, value: applyPatch(held.value, payload.patches) })
    } else if (held.epoch !== epoch || held.version < version) {
      if (!this.wanted.has(key)) return
      if (!this.#restless.has(key)) this.complaints.push(`a gap in "${key}": holding ${held.version}, given ${payload.from} to ${version}`)
      this.#ask(key)
    }
  }
}
