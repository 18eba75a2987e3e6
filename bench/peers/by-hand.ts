import { type PeerState, type Value, load } from './peer.js'

interface JsonPatch { compare (from: object, to: object): object[] }
type Publish = (key: string, patches: object[]) => unknown

/**
 * Live state for peers that have none, as one writes it by hand: subscribers get the value, then JSON Patches.
 * `update` names the fields itself; `replace` compares with fast-json-patch.
 */
export class HandState implements PeerState {
  readonly values = new Map<string, Value>()
  readonly #snapshots = new Map<string, unknown>()
  readonly #publish: Publish
  readonly #compare: JsonPatch['compare']

  private constructor (publish: Publish, compare: JsonPatch['compare']) {
    this.#publish = publish
    this.#compare = compare
  }

  static async make (publish: Publish): Promise<HandState> {
    const module = await load<{ default: JsonPatch }>('fast-json-patch')
    return new HandState(publish, module.default.compare)
  }

  /** The value as the peer sends it, encoded once for all who ask before it changes. */
  snapshot<T> (key: string, encode: (value: Value) => T): T {
    let made = this.#snapshots.get(key) as T | undefined
    if (made === undefined) this.#snapshots.set(key, made = encode(this.values.get(key)!))
    return made
  }

  create (key: string, value: Value): void {
    this.values.set(key, value)
    this.#snapshots.delete(key)
  }

  update (key: string, index: number, n: number): unknown {
    const record = this.values.get(key)!.records[index]!
    record.score = n
    record.seen = n
    this.#snapshots.delete(key)
    return this.#publish(key, [{ op: 'replace', path: `/records/${index}/score`, value: n }, { op: 'replace', path: `/records/${index}/seen`, value: n }])
  }

  replace (key: string, value: Value): unknown {
    const patches = this.#compare(this.values.get(key)!, value)
    this.create(key, value)
    return this.#publish(key, patches)
  }
}
