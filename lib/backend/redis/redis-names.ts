import { prefixRange } from '../prefix-range.js'
import type { RedisConnection } from './redis-connection.js'
import { ADOPT, COMPARE, LIST, ORPHANS, UNLIST } from './redis-scripts.js'

/** Names per command. */
const PAGE = 500

/**
 * The names of the live keys, sorted, so that keys with a prefix are found without reading all others. Nodes of older
 * versions use an unsorted set. Both sets have the same names.
 */
export class RedisNames {
  readonly #connection: RedisConnection
  /** The set, and the sorted set. The braces keep both on one node of a Cluster. */
  readonly #lists: string[]
  readonly #isLive: (key: string) => Promise<boolean>

  /**
   * @param prefix prefix of all keys in Redis
   * @param isLive reads once from the key itself whether it is live
   */
  constructor (connection: RedisConnection, prefix: string, isLive: (key: string) => Promise<boolean>) {
    this.#connection = connection
    this.#lists = [`${prefix}live`, `${prefix}names:{${prefix}live}`]
    this.#isLive = isLive
  }

  async add (keys: string[]): Promise<void> {
    await this.#run(LIST, keys.map(escapeKey))
  }

  /**
   * Removes keys that are not live from the list. A key and the list may be on two nodes of a Cluster, so this is not
   * atomic. But a commit that makes a key live lists the key before and after, so the key is listed in the end.
   */
  async remove (keys: string[]): Promise<void> {
    await this.#run(UNLIST, keys.map(escapeKey))
    const live = await this.#connection.policy.repeat(() => Promise.all(keys.map((key) => this.#isLive(key))))
    const wrong = keys.filter((_, at) => live[at])
    if (wrong.length > 0) await this.add(wrong)
  }

  /** Reads the listed keys with a prefix, page by page. Some may not be live. */
  async * pages (prefix: string): AsyncGenerator<string[]> {
    await this.#adopt()
    const range = prefixRange(prefix, (text) => text === '' ? '' : escapeKey(text))
    let from = range === undefined ? '-' : `[${range.from}`
    const to = range === undefined ? '+' : `(${range.to}`
    for (let names: string[] = []; ; from = `(${names.at(-1)!}`) {
      names = await this.#connection.repeat('zrangebylex', this.#lists[1]!, from, to, 'LIMIT', 0, PAGE) as string[]
      if (names.length === 0) return
      yield names.map(unescapeKey).filter((key) => key.startsWith(prefix))
      if (names.length < PAGE) return
    }
  }

  /** Copies names that nodes of older versions have changed only in the set. Then the sizes of the sets differ. */
  async #adopt (): Promise<void> {
    if (await this.#isSame()) return
    let cursor: string | number = '0'
    do [cursor = '0'] = await this.#run(ADOPT, [cursor]); while (cursor !== '0')
    if (await this.#isSame()) return
    let orphans: Array<string | number> = []
    do {
      [cursor = '0', ...orphans] = await this.#run(ORPHANS, [cursor])
      if (orphans.length > 0) await this.remove(orphans.map((name) => unescapeKey(String(name))))
    } while (cursor !== '0')
  }

  async #isSame (): Promise<boolean> {
    return (await this.#run(COMPARE))[0] === 1
  }

  #run (script: typeof LIST, args: Array<string | number> = []): Promise<Array<string | number>> {
    return this.#connection.policy.repeat(() => this.#connection.run(script, this.#lists, args))
  }
}

/** Escapes braces, which end the hash tag of a Cluster, an empty key, and lone surrogates, which UTF-8 lacks. */
export function escapeKey (key: string): string {
  // most keys have nothing to escape, and this expression is faster
  if (key !== '' && !/[%{}\ud800-\udfff]/.test(key)) return key
  return key === '' ? '%' : key.replace(/[%{}]|\p{Cs}/gu, (char) => `%${char.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

function unescapeKey (name: string): string {
  return name === '%' ? '' : name.replace(/%([0-9a-f]{4})/g, (_, code: string) => String.fromCharCode(parseInt(code, 16)))
}
