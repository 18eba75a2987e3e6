import { randomUUID } from 'node:crypto'

/** The identity of a push, by which a repeated one is recognized. */
export interface PushId {
  /** The id of a client's life; without spaces. */
  readonly client: string
  /** Counts up. */
  readonly seq: number
}

/** Maximum of remembered clients of a key; then the one that pushed least recently is forgotten. */
const MAX_CLIENTS = 1000

/**
 * The last push of each client, with the version that it made. It follows from the ids of the commits
 * alone, so it is the same on every node, and a push and the memory of it are one commit.
 */
export class PushLedger {
  /** Those that pushed last stand last. */
  readonly #last = new Map<string, { seq: number, version: number }>()

  constructor (entries: Iterable<readonly [client: string, seq: number, version: number]> = []) {
    for (const [client, seq, version] of entries) this.#last.set(client, { seq, version })
  }

  get size (): number { return this.#last.size }

  /** Takes in a commit, be it a push or not. */
  note (commitId: string, version: number): void {
    const push = pushOf(commitId)
    if (push === undefined) return
    this.#last.delete(push.client)
    this.#last.set(push.client, { seq: push.seq, version })
    if (this.#last.size > MAX_CLIENTS) this.#last.delete(this.#last.keys().next().value!)
  }

  /** The version that contains the push; undefined if it is new. */
  versionOf ({ client, seq }: PushId): number | undefined {
    const last = this.#last.get(client)
    return last !== undefined && seq <= last.seq ? last.version : undefined
  }

  /** This, and the commits that follow the one that made `version`. */
  after (version: number, commits: Iterable<{ id: string }>): PushLedger {
    const next = new PushLedger(this)
    for (const { id } of commits) next.note(id, ++version)
    return next
  }

  /** The same pushes in another epoch, where `version` contains all of them. */
  at (version: number): PushLedger {
    return new PushLedger(Array.from(this, ([client, seq]) => [client, seq, version] as const))
  }

  * [Symbol.iterator] (): Iterator<readonly [client: string, seq: number, version: number]> {
    for (const [client, { seq, version }] of this.#last) yield [client, seq, version]
  }
}

/** Random once for this process. A UUID of Node.js is made of 20 strings, which would stay as long as a commit does. */
const LIFE = randomUUID()
let commits = 0

/** A commit's id: unique, followed by the push. */
export function commitId (push: PushId | undefined): string {
  const id = LIFE + String(++commits)
  return push === undefined ? id : `${id} ${push.client} ${push.seq}`
}

export function pushOf (id: string): PushId | undefined {
  if (!id.includes(' ')) return undefined
  const [, client, seq] = id.split(' ')
  return client === undefined || seq === undefined ? undefined : { client, seq: Number(seq) }
}

/**
 * The text of a key's snapshot in the journal: the value as JSON, with the pushes beside it if there are any. Text with
 * pushes begins with a space, which the text of a value never does.
 */
export function packSnapshot (value: string, pushes: PushLedger): string {
  return pushes.size === 0 ? value : ` {"value":${value},"pushes":${JSON.stringify([...pushes])}}`
}

export function unpackSnapshot (text: string): { value: unknown, pushes: PushLedger } {
  if (!text.startsWith(' ')) return { value: JSON.parse(text), pushes: new PushLedger() }
  const { value, pushes } = JSON.parse(text) as { value: unknown, pushes: [string, number, number][] }
  return { value, pushes: new PushLedger(pushes) }
}
