import { randomUUID } from 'node:crypto'

/** The identity of a push, by which a repeated push is recognized. */
export interface PushId {
  /** The id that a client keeps for its life; without spaces. */
  readonly client: string
  /** A number that grows with each push. */
  readonly seq: number
}

/** Most clients remembered per key. Beyond that, the one that pushed least recently is forgotten. */
const MAX_CLIENTS = 1000

/**
 * The last push of each client, with the version that it made. The ids of commits contain the pushes, so all nodes have
 * the same ledger, and a push is stored atomically with its identity.
 */
export class PushLedger {
  /** Least recent push first. */
  readonly #last = new Map<string, { seq: number, version: number }>()

  constructor (entries: Iterable<readonly [client: string, seq: number, version: number]> = []) {
    for (const [client, seq, version] of entries) this.#last.set(client, { seq, version })
  }

  get size (): number { return this.#last.size }

  /** Records the push of a commit, if the commit is one. */
  note (commitId: string, version: number): void {
    const push = pushOf(commitId)
    if (push === undefined) return
    this.#last.delete(push.client)
    this.#last.set(push.client, { seq: push.seq, version })
    if (this.#last.size > MAX_CLIENTS) this.#last.delete(this.#last.keys().next().value!)
  }

  /** The version that contains the push; undefined if the push is new. */
  versionOf ({ client, seq }: PushId): number | undefined {
    const last = this.#last.get(client)
    return last !== undefined && seq <= last.seq ? last.version : undefined
  }

  /** A copy that also has the commits after `version`. */
  after (version: number, commits: Iterable<{ id: string }>): PushLedger {
    const next = new PushLedger(this)
    for (const { id } of commits) next.note(id, ++version)
    return next
  }

  /** The same pushes in a new epoch, in which `version` contains all of them. */
  at (version: number): PushLedger {
    return new PushLedger(Array.from(this, ([client, seq]) => [client, seq, version] as const))
  }

  * [Symbol.iterator] (): Iterator<readonly [client: string, seq: number, version: number]> {
    for (const [client, { seq, version }] of this.#last) yield [client, seq, version]
  }
}

/** Random, once per process. A UUID per commit would take more memory, since Node.js builds it of 20 strings. */
const LIFE = randomUUID()
let commits = 0

/** A unique id for a commit, followed by the push. */
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
 * The text of a key's snapshot in the journal: the value as JSON, with the pushes if there are any. Text with pushes
 * begins with a space, which JSON text of a value never does.
 */
export function packSnapshot (value: string, pushes: PushLedger): string {
  return pushes.size === 0 ? value : ` {"value":${value},"pushes":${JSON.stringify([...pushes])}}`
}

export function unpackSnapshot (text: string): { value: unknown, pushes: PushLedger } {
  if (!text.startsWith(' ')) return { value: JSON.parse(text), pushes: new PushLedger() }
  const { value, pushes } = JSON.parse(text) as { value: unknown, pushes: [string, number, number][] }
  return { value, pushes: new PushLedger(pushes) }
}
