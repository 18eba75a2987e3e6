import { HybridClock } from '../../crdt/clock.js'
import type { CrdtType } from '../../crdt/crdt.js'
import { crdtOf, isCrdtType } from '../../crdt/types.js'
import type { ContractChecks } from '../contract/contract-checks.js'
import { DatasoleError, coded, invalidArgument, isThenable } from '../../protocol/errors.js'
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
import type { KeyChannel } from '../keys/key-channel.js'
import { KeyNames, type NamesOwner } from '../keys/key-names.js'
import type { KeyRegistry } from '../keys/registry.js'
import type { KeySource, Kind } from '../keys/source.js'
import type { Subscriptions } from '../keys/subscriptions.js'
import type { ChannelInfo } from '../../protocol/messages.js'
import type { Replica } from '../store/replica.js'
import type { Part } from '../lifecycle/part.js'
import type { Logger } from '../context/logger.js'
import type { Settings } from '../config/settings.js'
import type { StateStore, StoreOwner } from '../store/state-store.js'
import type { Storage } from '../store/storage.js'

/** Takes a client's operations on a key. */
export interface CrdtSink { write (key: string, change: Change): void }

/** A channel of mode `crdt`. */
export interface CrdtSinkChannel extends KeyChannel {
  /** Undefined if the connection's operations are refused. */
  sinkFor (connection: ConnectionContext): CrdtSink | undefined
}

/** Gets each change of a key that is loaded on this node. */
export type CrdtListener = (key: string, value: unknown, type: CrdtType) => void | Promise<void>

/**
 * Values that many clients and nodes change concurrently. The store merges changes, commit by commit. Subscribers get a
 * change only after it is stored, so a change that a client has seen is never taken back.
 */
export class Crdts implements Kind, StoreOwner, CrdtSink, Part {
  readonly name = 'crdt'
  /** The CRDTs in the root's store, including those of clients: at most `maxCrdtKeys`. */
  readonly names: KeyNames
  /** Handles operations of clients. */
  readonly inbox: CrdtInbox
  readonly #keys: KeyRegistry
  readonly #subscriptions: Subscriptions
  readonly #storeOf: (scope: Scope, user: string) => StateStore
  readonly #root: () => Pick<Storage, 'state' | 'crdt'>
  readonly #isOpen: (scope: Scope) => boolean
  readonly #isRoot: (store: StateStore) => boolean
  readonly #settings: Settings
  readonly #contract: ContractChecks
  readonly #log: Logger
  readonly #clock = new HybridClock()
  /** The types of keys that server code has registered. */
  readonly #types = new Map<string, CrdtType>()
  /** Registered keys that have been created, or are being created. */
  readonly #made = new Set<string>()
  readonly #writers = new Map<string, CrdtWriter>()
  /** Keys that are being created, with the number of pending changes. */
  readonly #making = new Map<string, number>()
  /** Keys in `names` that are known not to be live state. */
  readonly #unclaimed = new Set<string>()
  readonly #listeners = new Set<CrdtListener>()

  /** @param isOpen whether the store of a scope is known and can be used; if not, `opened` is called later */
  constructor (settings: Settings, keys: KeyRegistry, subscriptions: Subscriptions, storeOf: (scope: Scope, user: string) => StateStore, root: () => Pick<Storage, 'state' | 'crdt'>, isRoot: (store: StateStore) => boolean, isOpen: (scope: Scope) => boolean, contract: ContractChecks, names: NamesOwner, log: Logger) {
    this.#contract = contract
    this.#isOpen = isOpen
    this.#isRoot = isRoot
    this.#settings = settings
    this.#keys = keys
    this.#subscriptions = subscriptions
    this.#storeOf = storeOf
    this.#root = root
    this.#log = log
    this.names = new KeyNames({
      isLive: (key) => root().crdt.isLive(key),
      holdsLive: (key) => root().crdt.holdsLive(key),
      liveKeys: () => root().crdt.liveKeys()
    }, names)
    this.inbox = new CrdtInbox(this, keys, contract, settings, log)
  }

  storeOf (key: string): StateStore {
    return this.#storeOf(this.#keys.scopeOf(key), key)
  }

  open (replica: Replica, channel: ChannelInfo | undefined): KeySource {
    return new CrdtSource(replica, this.#subscriptions, channel)
  }

  onCommit (replica: Replica, from: number, store: StateStore): void {
    this.#subscriptions.committed(this, store, replica, from)
    if (!replica.live) this.#forget(replica.key)
    if (this.#listeners.size > 0) this.#tell(replica.key, replica.document.value as CrdtDocument | undefined)
  }

  onLiveChange (key: string, isLive: boolean, _isOwn: boolean, store: StateStore): void {
    if (this.#isRoot(store)) this.names.changed(key, isLive)
  }

  isNeeded (key: string, store: StateStore): boolean {
    return this.#subscriptions.has(key, store) || (this.#keys.kindOf(key) === 'crdt' && this.storeOf(key) === store)
  }

  /** Whether live state has the name, unless server code has declared it. A promise if the store has to be read. */
  isClaimed (key: string): boolean | Promise<boolean> {
    const kind = this.#keys.kindOf(key)
    if (kind !== undefined) return kind !== 'crdt'
    if (this.#unclaimed.has(key)) return false
    const { state } = this.#root()
    const decide = ({ live }: Replica): boolean => {
      if (!live && this.names.has(key)) this.#unclaimed.add(key)
      state.idle(key)
      return live
    }
    const replica = state.replica(key)
    return isThenable(replica) ? replica.then(decide) : decide(replica)
  }

  /** Handles a name that live state has taken or left. */
  stateChanged (key: string): void {
    this.#unclaimed.delete(key)
    if (this.names.has(key)) this.#subscriptions.rejoin(key)
  }

  /** Reads the names again after messages between nodes may have been lost. */
  async reload (): Promise<void> {
    this.#unclaimed.clear()
    await this.names.reload()
  }

  /** Declares a key, and creates it as soon as the store can be used. */
  register (key: string, type: CrdtType, scope: Scope, isChannel = false): void {
    checkCrdtKey(key)
    this.#contract.checkType(key, type, isChannel)
    if (!isCrdtType(type)) throw invalidArgument(`a CRDT must be a pn-counter, an lww-register, an lww-map or yjs, not ${JSON.stringify(type)}`)
    const isFull = this.#types.size >= this.#settings.maxCrdtKeys || !this.#hasRoomFor(key)
    if (isFull && this.#keys.kindOf(key) !== 'json') throw this.#tooMany()
    this.#keys.register(key, 'crdt', scope, 'crdt.register')
    this.#types.set(key, type)
    this.#forget(key) // its writer may belong to another store
    if (this.#isOpen(scope)) this.#make(key, type)
  }

  /** As `register`, for code that may run twice. @throws DatasoleError `TYPE_MISMATCH` */
  registerOnce (key: string, type: CrdtType, scope: Scope): void {
    const known = this.typeOf(key)
    if (known === undefined) this.register(key, type, scope)
    else if (known !== type) throw new DatasoleError('TYPE_MISMATCH', `crdt.registerByType("${key}"): the key is registered as ${known}`)
  }

  /** Makes the key one like those that clients create. */
  unregister (key: string): void {
    const store = this.storeOf(key)
    this.#types.delete(key)
    this.#made.delete(key)
    this.#forget(key)
    this.#keys.unregister(key)
    store.idle(key)
  }

  /** Whether the key has had no change since it was created. */
  async isNew (key: string): Promise<boolean> {
    return (await this.storeOf(key).replica(key)).version <= 1
  }

  typeOf (key: string): CrdtType | undefined {
    return this.#types.get(key)
  }

  /** Loads the names of the keys. */
  async start (): Promise<void> {
    await this.names.reload()
  }

  /** A store can be used now: creates the keys that were registered for it. */
  opened (): void {
    for (const [key, type] of this.#types) if (this.#isOpen(this.#keys.scopeOf(key))) this.#make(key, type)
  }

  /** A copy of the stored value; undefined if there is no such key. */
  async value (key: string): Promise<unknown> {
    const { document: { value } } = await this.storeOf(checkCrdtKey(key)).replica(key)
    const copy = value === undefined ? undefined : clonePlain(crdtOf((value as CrdtDocument).type).value(value as CrdtDocument))
    this.storeOf(key).idle(key)
    return copy
  }

  /**
   * Applies an operation of server code. Resolves when it is stored.
   * @param isChecked whether the contract's check has run already
   */
  async apply (key: string, op: ServerOp, isChecked = false): Promise<void> {
    const read = readServerOp(key, op, this.#clock.node, this.#settings.maxJsonDepth)
    const refused = this.#contract.operation(key, read, this.#keys.channelOf(key) !== undefined)
    if (refused !== undefined) throw coded(new TypeError(`crdt.apply("${key}"): ${refused.message}`), refused.code)
    if (read.type === 'yjs') {
      await loadYjs()
      if (!isUpdate(read.value as string)) throw invalidArgument(`crdt.apply("${key}"): the value is not a Yjs update`)
    }
    const { timestamp, ...rest } = read
    const stamped = op.timestamp === undefined ? rest : { ...rest, timestamp }
    const result = await new Promise<Result>((resolve, reject) => { this.write(key, { type: read.type, op: stamped, check: isChecked ? undefined : this.#contract.channelCheck(key, this.#keys.channelOf(key) !== undefined), done: resolve, failed: reject }) })
    const refusal = REFUSALS[result]
    if (refusal !== undefined) throw new DatasoleError(refusal[0], `crdt.apply("${key}"): ${refusal[1]}`)
  }

  /** Deletes a key that is not registered. Resolves to whether it existed. */
  async delete (key: string): Promise<boolean> {
    if (this.#types.has(checkCrdtKey(key))) throw new DatasoleError('REGISTERED', `crdt.delete("${key}"): server code registered the key, so it cannot be deleted`)
    return await this.storeOf(key).delete(key)
  }

  onChange (fn: CrdtListener): Unsubscribe {
    if (typeof fn !== 'function') throw invalidArgument('crdt.onChange: the listener must be a function')
    const own: CrdtListener = (...change) => fn(...change)
    this.#listeners.add(own)
    return unsubscriber(() => { this.#listeners.delete(own) })
  }

  #make (key: string, type: CrdtType): void {
    if (this.#made.has(key)) return
    this.#made.add(key)
    this.write(key, {
      type,
      done: (result) => { if (result === 'mistyped') this.#log.error({ key }, `the CRDT key is registered as ${type}, but the store has it as another type; operations on it are refused`) },
      failed: (error) => { this.#log.error({ err: error, key }, 'a registered CRDT key could not be created; its first operation will create it') }
    })
  }

  /** Queues a change for the store. Its `done` or `failed` is called. */
  write (key: string, change: Change): void {
    if (this.names.has(key)) return this.#writerOf(key).add(change)
    const making = this.#making.get(key) ?? 0
    // registered keys are always created, even if the store proves to be full later
    if (!this.#types.has(key) && !this.#hasRoomFor(key)) return change.failed(this.#tooMany())
    this.#making.set(key, making + 1)
    const ended = (): void => {
      const left = this.#making.get(key)! - 1
      this.#making.set(key, left)
      if (left > 0) return
      this.#making.delete(key)
      if (!this.names.has(key) && !this.#types.has(key)) this.#forget(key)
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
    const { names } = this
    return names.has(key) || this.#making.has(key) || names.size + this.#making.size < this.#settings.maxCrdtKeys
  }

  #tooMany (): DatasoleError {
    return new DatasoleError('LIMIT_EXCEEDED', `the server already has ${this.#settings.maxCrdtKeys} CRDT keys (maxCrdtKeys)`)
  }

  #writerOf (key: string): CrdtWriter {
    let writer = this.#writers.get(key)
    if (writer === undefined) this.#writers.set(key, writer = new CrdtWriter(key, this.storeOf(key), this.#clock, () => this.isClaimed(key)))
    return writer
  }

  #forget (key: string): void {
    this.#writers.delete(key)
    this.#unclaimed.delete(key)
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
