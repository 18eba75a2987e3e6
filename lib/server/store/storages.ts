import type { StateBackend } from '../../backend/backend.js'
import type { Settings } from '../config/settings.js'
import type { Logger } from '../context/logger.js'
import type { BackendHealth, Metrics } from '../metrics/metrics.js'
import type { Scope } from '../scope/scope.js'
import { BACKEND } from '../scope/services.js'
import { Storage, type StorageOwners } from './storage.js'

/** The storages of a server: one per backend that a scope provides, and the default one for the root. */
export class Storages implements Iterable<Storage> {
  readonly #byOwner = new Map<Scope, Storage>()
  readonly #root: Scope
  readonly #defaultBackend: () => StateBackend
  readonly #open: (backend: StateBackend) => Storage
  readonly #onUsable: (storage: Storage) => void
  #announced: Promise<unknown> | undefined

  /** @param onUsable called for each storage that has been requested, when its backend is connected */
  constructor (root: Scope, defaultBackend: () => StateBackend, owners: StorageOwners, onUsable: (storage: Storage) => void, settings: Settings, metrics: Metrics, log: Logger) {
    this.#root = root
    this.#defaultBackend = defaultBackend
    this.#open = (backend) => new Storage(backend, owners, onUsable, settings, metrics, log)
    this.#onUsable = onUsable
  }

  get root (): Storage { return this.of(this.#root, 'the server') }

  [Symbol.iterator] (): Iterator<Storage> { return new Set(this.#byOwner.values()).values() }

  /**
   * The storage of a scope.
   * @param user the call that is going to use it: see `Scope.ownerOf`
   */
  of (scope: Scope, user: string): Storage {
    const owner = scope.ownerOf([BACKEND], user)
    const known = this.#byOwner.get(owner)
    if (known !== undefined) return known
    const backend = owner.provided(BACKEND) ?? this.#defaultBackend()
    // scopes that provide the same instance share one store and one bus
    const shared = Array.from(this).find((each) => each.backend === backend)
    const storage = shared ?? this.#open(backend)
    this.#byOwner.set(owner, storage)
    if (shared !== undefined) return shared
    if (this.#announced !== undefined) storage.announce(this.#announced)
    if (storage.isUsable) this.#onUsable(storage)
    return storage
  }

  /** The storage of a scope, if it has been requested before. */
  peek (scope: Scope): Storage | undefined {
    return this.#byOwner.get(scope.ownerOf([BACKEND]))
  }

  /** Each storage with its name: the name of the first scope that uses it. */
  get names (): Map<Storage, string> {
    const names = new Map<Storage, string>()
    for (const [{ name }, storage] of this.#byOwner) {
      if (names.has(storage)) continue
      const taken = Array.from(names.values()).filter((each) => each === name || each.startsWith(`${name}#`)).length
      names.set(storage, taken === 0 ? name : `${name}#${taken + 1}`)
    }
    return names
  }

  /** Tests every backend. */
  async health (timeoutMs: number): Promise<BackendHealth[]> {
    return await Promise.all(Array.from(this.names, async ([storage, scope]) => ({ scope, ...await storage.health(timeoutMs) })))
  }

  /** Whether the scope provides its own backend, so that no plugin can replace it. */
  isOwn (scope: Scope): boolean {
    return scope.ownerOf([BACKEND]) === scope
  }

  /** Makes calls wait for `starting`, which connects the backends later. */
  announce (starting: Promise<unknown>): void {
    this.#announced = starting
    for (const storage of this) storage.announce(starting)
  }
}
