import { isDeepStrictEqual } from 'node:util'
import { CALLS, type Fleet } from './fleet.js'
import { load } from './peer.js'
import type { RawSocket } from './raw-socket.js'

type ApplyPatch = (document: unknown, patch: object[], validate: boolean, mutate: boolean) => { newDocument: unknown }

/** The state of one client after all of its messages. A reader of the peer's messages fills it. */
export class Replica {
  readonly values = new Map<string, unknown>()
  /** Of values by key, where the peer has such a thing: it lets a reader see a gap. */
  readonly positions = new Map<string, { epoch: string, version: number }>()
  events = 0
  replies = 0
  onEvent: (data: unknown) => void = () => {}
  onReply: (id: number, result: unknown) => void = () => {}
  readonly #apply: ApplyPatch

  private constructor (apply: ApplyPatch) {
    this.#apply = apply
  }

  static async make (): Promise<Replica> {
    const { default: { applyPatch } } = await load<{ default: { applyPatch: ApplyPatch } }>('fast-json-patch')
    return new Replica(applyPatch)
  }

  event (data: unknown): void {
    this.events++
    this.onEvent(data)
  }

  reply (id: number, result: unknown): void {
    this.replies++
    this.onReply(id, result)
  }

  value (key: string, value: unknown): void {
    this.values.set(key, value)
  }

  patch (key: string, operations: object[]): void {
    if (!this.values.has(key)) throw new Error(`a patch of ${key}, of which no value came`)
    this.values.set(key, this.#apply(this.values.get(key), operations, false, true).newDocument)
  }

  /** Reads all that a watched connection got. */
  async read (socket: RawSocket): Promise<void> {
    const read = await socket.protocol.reader(this, socket)
    for (const message of socket.messages()) read(message)
  }
}

type Expectation = Partial<Pick<Replica, 'onEvent' | 'onReply'>>

/** The replicas of the watched connections. */
export async function replay ({ watched }: Fleet, expect: () => Expectation = () => ({})): Promise<Replica[]> {
  return await Promise.all(watched.map(async (socket) => {
    const replica = Object.assign(await Replica.make(), expect())
    await replica.read(socket)
    return replica
  }))
}

/** Each of the watched connections has got the events 1 to `count`, in order. */
export async function checkEvents (fleet: Fleet, make: (n: number) => object, count: number): Promise<void> {
  for (const { events } of await replay(fleet, () => eventsOf(make))) same(events, count, 'events')
}

/** Expects the events from the first on, one after the other. */
export function eventsOf (make: (n: number) => object): Expectation {
  let n = 0
  return { onEvent (data) { same(data, make(++n), `event ${n}`) } }
}

/** Expects the replies to a caller's calls, in their order. */
export function repliesInOrder (): Expectation {
  let n = 0
  return { onReply (id, result) { same([id, result], CALLS[n++ % CALLS.length], `reply ${n}`) } }
}

/** @throws Error where a client has something else than it should */
export function same (actual: unknown, expected: unknown, what: string): void {
  // one that a schema made has other prototypes
  const plain = typeof actual === 'object' ? JSON.parse(JSON.stringify(actual)) as unknown : actual
  if (!isDeepStrictEqual(plain, expected)) throw new Error(`wrong ${what}: ${show(plain)}; expected ${show(expected)}`)
}

function show (value: unknown): string {
  const text = JSON.stringify(value) ?? 'undefined'
  return text.length > 200 ? `${text.slice(0, 200)}…` : text
}
