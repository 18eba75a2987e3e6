import { HybridClock } from '../../crdt/clock.js'
import type { CrdtType } from '../../crdt/crdt.js'
import { crdtOf, isCrdtType } from '../../crdt/types.js'
import { DatasoleError, invalidArgument, isThenable } from '../../protocol/errors.js'
import { clonePlain } from '../../protocol/json.js'
import { type Unsubscribe, unsubscriber } from '../../protocol/unsubscribe.js'
import type { ConnectionContext } from '../context/connection-context.js'
import type { Change, CrdtDocument, Result } from './crdt-document.js'
import { type ServerOp, checkCrdtKey, readServerOp } from './crdt-handle.js'
import { CrdtInbox, REFUSALS } from './crdt-inbox.js'
import { CrdtSource } from './crdt-source.js'
import { CrdtWriter } from './crdt-writer.js'
import { isUpdate, loadYjs } from './crdt-yjs.js'
import type { Scope } from '../scope/scope.js'
import { LiveState } from '../keys/live-state.js'
import type { Logger } from '../context/logger.js'
import type { Metrics } from '../metrics/metrics.js'
import type { Settings } from '../config/settings.js'
import type { StateStore } from '../store/state-store.js'

/** Where a client's operations on a key go; undefined where they are refused. */
export interface CrdtWay { way (connection: ConnectionContext): Pick<Crdts, 'write'> | undefined }

/** Told of each change of a key that this node holds. */
export type CrdtListener = (key: string, value: unknown, type: CrdtType) => void | Promise<void>

/**
 * Values that many may change at once. What a client or server code does to one is merged in the store,
 * one commit after the other; nobody is told of a change before the store has it, so nothing that was
 * seen is taken back.
 */
export class Crdts {
  /** Who is told of which key. */
  readonly mirrors: LiveState
  /** Takes what clients do. */
  readonly inbox: CrdtInbox
  /** Channels of mode `crdt`, which say what becomes of their clients' operations. */
  readonly channels = new Map<string, CrdtWay>()
  readonly #store: StateStore
  readonly #settings: Settings
  readonly #log: Logger
  readonly #clock = new HybridClock()
  /** What server code has registered. */
  readonly #registered = new Map<string, CrdtType>()
  readonly #writers = new Map<string, CrdtWriter>()
  /** Keys that are about to be made. */
  readonly #making = new Map<string, number>()
  readonly #listeners = new Set<CrdtListener>()
  #isStarted = false

  /**
   * @param store of its own
   * @param state whose names are not for CRDTs
   */
  constructor (settings: Settings, store: StateStore, readonly state: Pick<LiveState, 'claims' | 'isDeclared'>, root: Scope, metrics: Metrics, log: Logger) {
    this.#settings = settings
    this.#store = store
    this.#log = log
    this.mirrors = new LiveState(settings, store, root, metrics, log, (replica, host, channel) => new CrdtSource(replica, host, channel))
    this.inbox = new CrdtInbox(this, settings, log)
    const { moved, isNeeded } = store
    store.isNeeded = (key) => this.#registered.has(key) || isNeeded(key)
    store.moved = (replica, from) => {
      moved(replica, from)
      if (!replica.live) this.#writers.delete(replica.key)
      if (this.#listeners.size > 0) this.#tell(replica.key, replica.document.value as CrdtDocument | undefined)
    }
  }

  /** Whether this is a CRDT key. One that only clients have made is none where state has the name. */
  has (key: string): boolean {
    return this.#isDeclared(key) || (this.mirrors.names.has(key) && !this.state.claims(key))
  }

  /** Whether clients may make the key, or have: names of state are not theirs. */
  isOpen (key: string): boolean {
    return this.#isDeclared(key) || !this.state.claims(key)
  }

  #isDeclared (key: string): boolean { return this.#registered.has(key) || this.channels.has(key) }

  /** Declares a key; it is made as soon as the store can be used. */
  register (key: string, type: CrdtType, scope: Scope): void {
    checkCrdtKey(key)
    if (!isCrdtType(type)) throw invalidArgument(`a CRDT must be a pn-counter, an lww-register, an lww-map or yjs, not ${JSON.stringify(type)}`)
    if (this.state.isDeclared(key)) throw new DatasoleError('DUPLICATE_KEY', `crdt.register("${key}"): the key is one of live state already`)
    if (this.#registered.size >= this.#settings.maxCrdtKeys || !this.#hasRoomFor(key)) throw this.#tooMany()
    this.mirrors.register(key, scope)
    this.#registered.set(key, type)
    if (this.#isStarted) this.#make(key, type)
  }

  /** The same, for code that may run twice. @throws DatasoleError `TYPE_MISMATCH` */
  registerOnce (key: string, type: CrdtType, scope: Scope): void {
    const known = this.typeOf(key)
    if (known === undefined) this.register(key, type, scope)
    else if (known !== type) throw new DatasoleError('TYPE_MISMATCH', `crdt.registerByType("${key}"): it is registered as ${known}`)
  }

  /** The key is one like those that clients make. */
  unregister (key: string): void {
    this.#registered.delete(key)
    this.mirrors.unregister(key)
    this.#store.idle(key)
  }

  /** Whether nothing but its making has happened to a key. */
  async isNew (key: string): Promise<boolean> {
    return (await this.#store.replica(key)).version <= 1
  }

  typeOf (key: string): CrdtType | undefined {
    return this.#registered.get(key)
  }

  /** The store can be used. */
  start (): void {
    this.#isStarted = true
    for (const [key, type] of this.#registered) this.#make(key, type)
  }

  /** The value that the store has, as a copy; undefined where there is no such key. */
  async value (key: string): Promise<unknown> {
    const { document: { value } } = await this.#store.replica(checkCrdtKey(key))
    const copy = value === undefined ? undefined : clonePlain(crdtOf((value as CrdtDocument).type).value(value as CrdtDocument))
    this.#store.idle(key)
    return copy
  }

  /** Applies an operation of server code. Resolves once the store has it. */
  async apply (key: string, op: ServerOp): Promise<void> {
    const read = readServerOp(key, op, this.#clock.node, this.#settings.maxJsonDepth)
    if (read.type === 'yjs') {
      await loadYjs()
      if (!isUpdate(read.value as string)) throw invalidArgument(`crdt.apply("${key}"): this is no update of Yjs`)
    }
    const { timestamp, ...rest } = read
    const stamped = op.timestamp === undefined ? rest : { ...rest, timestamp }
    const result = await new Promise<Result>((resolve, reject) => { this.write(key, { type: read.type, op: stamped, done: resolve, failed: reject }) })
    const refusal = REFUSALS[result]
    if (refusal !== undefined) throw new DatasoleError(refusal[0], `crdt.apply("${key}"): ${refusal[1]}`)
  }

  /** Deletes a key that is not registered here. Resolves to whether it was there. */
  async delete (key: string): Promise<boolean> {
    if (this.#registered.has(checkCrdtKey(key))) throw new DatasoleError('REGISTERED', `crdt.delete("${key}"): server code has registered the key, so it stays`)
    return await this.#store.delete(key)
  }

  onChange (fn: CrdtListener): Unsubscribe {
    if (typeof fn !== 'function') throw invalidArgument('crdt.onChange: the listener must be a function')
    const own: CrdtListener = (...change) => fn(...change)
    this.#listeners.add(own)
    return unsubscriber(() => { this.#listeners.delete(own) })
  }

  #make (key: string, type: CrdtType): void {
    this.write(key, {
      type,
      done: (result) => { if (result === 'mistyped') this.#log.error({ key }, `the store has this CRDT key as another type than ${type}, as which it is registered; operations on it are refused`) },
      failed: (error) => {
        this.#log.error({ err: error, key }, 'a registered CRDT key could not be made; its first operation will make it')
      }
    })
  }

  /** A change on its way to the store; it is told what becomes of it. */
  write (key: string, change: Change): void {
    if (this.mirrors.names.has(key)) return this.#writerOf(key).add(change)
    const making = this.#making.get(key) ?? 0
    // what was registered before it could be known how many there are is made in any case
    if (!this.#registered.has(key) && !this.#hasRoomFor(key)) return change.failed(this.#tooMany())
    this.#making.set(key, making + 1)
    const ended = (): void => {
      const left = this.#making.get(key)! - 1
      this.#making.set(key, left)
      if (left > 0) return
      this.#making.delete(key)
      if (!this.mirrors.names.has(key)) this.#writers.delete(key)
    }
    this.#writerOf(key).add({
      ...change,
      done: (result) => {
        ended()
        change.done(result)
      },
      failed: (error) => {
        ended()
        change.failed(error)
      }
    })
  }

  #hasRoomFor (key: string): boolean {
    const { names } = this.mirrors
    return names.has(key) || this.#making.has(key) || names.size + this.#making.size < this.#settings.maxCrdtKeys
  }

  #tooMany (): DatasoleError {
    return new DatasoleError('LIMIT_EXCEEDED', `there may be ${this.#settings.maxCrdtKeys} CRDT keys (maxCrdtKeys)`)
  }

  #writerOf (key: string): CrdtWriter {
    let writer = this.#writers.get(key)
    if (writer === undefined) this.#writers.set(key, writer = new CrdtWriter(key, this.#store, this.#clock))
    return writer
  }

  #tell (key: string, document: CrdtDocument | undefined): void {
    if (document === undefined) return
    const { type } = document
    const failed = (error: unknown): void => { this.#log.error({ err: error, key }, 'a listener of CRDT changes failed') }
    for (const listener of this.#listeners) {
      try {
        const result: unknown = listener(key, clonePlain(crdtOf(type).value(document)), type)
        if (isThenable(result)) result.then(undefined, failed)
      } catch (error) {
        failed(error)
      }
    }
  }
}
