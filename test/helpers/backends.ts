import { MemoryBackend } from '../../lib/backend/memory/memory.js'
import type { CommitRequest, CommitResult, KeyRecord, Position, StateBackend, BackendUnsubscribe } from '../../lib/backend/backend.js'

type Handler = (key: string, value: unknown) => void

/** What someone writes who read only the API page: the five methods and nothing else. */
export class FiveMethods implements StateBackend {
  readonly values = new Map<string, string>()
  readonly #handlers = new Map<string, Set<Handler>>()

  async get<T = unknown> (key: string): Promise<T | undefined> {
    const json = this.values.get(key)
    return json === undefined ? undefined : JSON.parse(json) as T
  }

  async set<T = unknown> (key: string, value: T): Promise<void> { this.values.set(key, JSON.stringify(value)) }
  async delete (key: string): Promise<boolean> { return this.values.delete(key) }

  subscribe (key: string, handler: Handler): () => void {
    const handlers = this.#handlers.get(key) ?? new Set()
    this.#handlers.set(key, handlers)
    const own: Handler = (channel, value) => handler(channel, value)
    handlers.add(own)
    return () => { handlers.delete(own) }
  }

  async publish (key: string, value: unknown): Promise<void> {
    const json = JSON.stringify(value)
    queueMicrotask(() => { for (const handler of this.#handlers.get(key) ?? []) handler(key, JSON.parse(json)) })
  }
}

/** One node's way to a shared MemoryBackend: its journal can be held up, broken, and cut off from notifications. */
export class ShakyBackend implements StateBackend {
  /** Subscriptions that have not been ended. */
  open = new Map<string, number>()
  commits = 0
  reads = 0
  /** Awaited before and after what the journal does; may throw. */
  before: (method: 'commit' | 'read', key: string) => unknown = () => undefined
  after: (method: 'commit' | 'read', key: string) => unknown = () => undefined
  /** Whether a notification gets through. */
  hears: (key: string) => boolean = () => true
  readonly #doubters = new Set<() => void>()

  constructor (readonly memory = new MemoryBackend()) {}

  get<T = unknown> (key: string): Promise<T | undefined> { return this.memory.get(key) }
  set<T = unknown> (key: string, value: T): Promise<void> { return this.memory.set(key, value) }
  delete (key: string): Promise<boolean> { return this.memory.delete(key) }
  publish (key: string, value: unknown): Promise<void> { return this.memory.publish(key, value) }
  liveKeys (): Promise<string[]> { return this.memory.liveKeys() }

  subscribe (key: string, handler: Handler): BackendUnsubscribe {
    const end = this.memory.subscribe(key, (channel, value) => { if (this.hears(channel)) handler(channel, value) })
    this.open.set(key, (this.open.get(key) ?? 0) + 1)
    return () => {
      end()
      const left = this.open.get(key)! - 1
      if (left === 0) this.open.delete(key)
      else this.open.set(key, left)
    }
  }

  async commit (key: string, request: CommitRequest): Promise<CommitResult> {
    this.commits++
    await this.before('commit', key)
    const result = await this.memory.commit(key, request)
    await this.after('commit', key)
    return result
  }

  async read (key: string, have?: Position): Promise<KeyRecord> {
    this.reads++
    await this.before('read', key)
    const record = await this.memory.read(key, have)
    await this.after('read', key)
    return record
  }

  onDoubt (fn: () => void): BackendUnsubscribe {
    this.#doubters.add(fn)
    return () => { this.#doubters.delete(fn) }
  }

  /** Says that notifications may have been lost. */
  doubt (): void { for (const fn of this.#doubters) fn() }
}

/** Holds whoever passes until it is opened. */
export class Gate {
  readonly #waiting: Array<() => void> = []
  #arrived: Array<() => void> = []
  isOpen = false

  pass = (): Promise<void> | undefined => {
    if (this.isOpen) return undefined
    const held = new Promise<void>((resolve) => { this.#waiting.push(resolve) })
    for (const arrived of this.#arrived) arrived()
    this.#arrived = []
    return held
  }

  /** Resolves once somebody stands before it. */
  async arrival (): Promise<void> {
    if (this.#waiting.length === 0) await new Promise<void>((resolve) => { this.#arrived.push(resolve) })
  }

  open (): void {
    this.isOpen = true
    for (const go of this.#waiting.splice(0)) go()
  }
}

/** A memory backend that notes the keys that were committed. */
export class TrackedKeys extends MemoryBackend {
  readonly written = new Set<string>()

  override commit (...args: Parameters<MemoryBackend['commit']>): ReturnType<MemoryBackend['commit']> {
    this.written.add(args[0])
    return super.commit(...args)
  }
}
