import { DatasoleError } from '../../protocol/errors.js'
import type { Scope } from '../scope/scope.js'
import type { KeyChannel } from './key-channel.js'

/** The kind of a key: a JSON value, or a CRDT. */
export type KindName = 'json' | 'crdt'

interface Entry {
  readonly kind: KindName
  /** The scope that registered the key by name. */
  registered: Scope | undefined
  channel: KeyChannel | undefined
}

/**
 * The keys that server code has declared, by `live.register`, `crdt.register` or a channel. Other keys belong to the
 * root scope.
 */
export class KeyRegistry {
  readonly #entries = new Map<string, Entry>()
  readonly #onChange: (key: string) => void

  /** @param onChange called when the channel or the scope of a key changes */
  constructor (readonly root: Scope, onChange: (key: string) => void) {
    this.#onChange = onChange
  }

  /** Every declared key. */
  get keys (): Iterable<string> { return this.#entries.keys() }

  has (key: string): boolean { return this.#entries.has(key) }

  /** Undefined for a key that server code has not declared. */
  kindOf (key: string): KindName | undefined { return this.#entries.get(key)?.kind }

  channelOf (key: string): KeyChannel | undefined { return this.#entries.get(key)?.channel }

  isRegistered (key: string): boolean { return this.#entries.get(key)?.registered !== undefined }

  /** The scope whose hooks guard the key. */
  scopeOf (key: string): Scope {
    const entry = this.#entries.get(key)
    return entry?.channel?.scope ?? entry?.registered ?? this.root
  }

  /**
   * Declares a key for a scope.
   * @param by the call, for the error
   * @throws DatasoleError `DUPLICATE_KEY`
   */
  register (key: string, kind: KindName, scope: Scope, by: string): void {
    const entry = this.#entryOf(key, kind, by)
    if (entry.registered !== undefined || (entry.channel !== undefined && entry.channel.scope !== scope)) throw duplicate(key, by, 'the key is already registered')
    entry.registered = scope
    this.#entries.set(key, entry)
    if (scope !== this.root) this.#onChange(key)
  }

  unregister (key: string): void {
    const entry = this.#entries.get(key)
    if (entry === undefined) return
    entry.registered = undefined
    if (entry.channel === undefined) this.#entries.delete(key)
  }

  /**
   * Makes a key a channel. Clients that are already subscribed subscribe again, with the hooks of the channel's scope.
   * @throws DatasoleError `DUPLICATE_KEY`
   */
  attach (key: string, kind: KindName, channel: KeyChannel, by: string): void {
    const entry = this.#entryOf(key, kind, by)
    if (entry.channel !== undefined) throw duplicate(key, by, 'the key already has a channel')
    if (entry.registered !== undefined && entry.registered !== channel.scope) throw duplicate(key, by, 'the key is registered in another scope')
    entry.channel = channel
    this.#entries.set(key, entry)
    this.#onChange(key)
  }

  detach (key: string): void {
    const entry = this.#entries.get(key)
    if (entry?.channel === undefined) return
    entry.channel = undefined
    if (entry.registered === undefined) this.#entries.delete(key)
    this.#onChange(key)
  }

  #entryOf (key: string, kind: KindName, by: string): Entry {
    const entry = this.#entries.get(key) ?? { kind, registered: undefined, channel: undefined }
    if (entry.kind !== kind) throw duplicate(key, by, entry.kind === 'crdt' ? 'the key is already a CRDT' : 'the key is already a key of live state')
    return entry
  }
}

function duplicate (key: string, by: string, why: string): DatasoleError {
  return new DatasoleError('DUPLICATE_KEY', `${by}("${key}"): ${why}`)
}
