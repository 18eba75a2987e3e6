import type { CrdtType } from '../crdt/crdt.js'
import { isCrdtType } from '../crdt/types.js'
import { type DatasoleError, checkHandler, invalidArgument } from '../protocol/errors.js'
import type { DeepReadonly } from '../protocol/frozen.js'
import { copyJson } from '../protocol/json.js'
import type { Unsubscribe } from '../protocol/unsubscribe.js'
import type { CrdtName, CrdtTypeOf, CrdtValue, DatasoleContract } from '../protocol/contract.js'
import { ClientCrdts } from './client-crdts.js'
import { type ClientHost, FEATURES } from './feature.js'
import type { LiveClient } from './live-client.js'

/** Maximum nesting depth of a value: the server's default. */
const MAX_DEPTH = 128

/** Options of `subscribe` of a CRDT. */
export interface CrdtSubscription {
  /** Gets the errors of refused operations, which are undone, and of a refused subscription. Default: the client's `onError`. */
  onError?: (error: DatasoleError) => void
  /** Called when the server has acknowledged every operation. */
  onSettled?: () => void
}

/** The members common to all CRDT handles of a client. `V` is the value. */
interface AnyCrdt<Type, V> {
  /** The key of the CRDT. */
  readonly key: string
  /** `pn-counter`, `lww-register`, `lww-map` or `yjs`. */
  readonly type: Type
  /** The value, including own operations that the server does not have yet. It is frozen. */
  readonly value: DeepReadonly<V>
  /** Whether the server's value has arrived. */
  readonly isSynced: boolean
  /** Whether operations of this client are unacknowledged. */
  readonly isPending: boolean
  /**
   * Calls the handler as soon as the value is known, and after each change, own changes included.
   * @param handler gets the value
   * @param options `onError` and `onSettled`. Default none
   * @returns unsubscribes the handler
   * @throws TypeError `INVALID_ARGUMENT`
   */
  subscribe (handler: (value: DeepReadonly<V>) => void, options?: CrdtSubscription): Unsubscribe
  /** Unsubscribes from the key. Queued operations are still sent. A new operation opens the key again. */
  close (): void
}

/** A counter that many clients change concurrently. Operations throw a DatasoleError `BUSY` if too many are queued. */
export interface ClientCounter extends AnyCrdt<'pn-counter', number> {
  /** Adds to the counter. @param amount from 0; default 1 */
  increment (amount?: number): void
  /** Subtracts from the counter. @param amount from 0; default 1 */
  decrement (amount?: number): void
}

/** A value of which the last write wins. It is undefined before the first write. */
export interface ClientRegister<V> extends AnyCrdt<'lww-register', V | undefined> {
  /** Writes a value. @param value plain JSON @throws TypeError `INVALID_JSON`, RangeError `TOO_DEEP`; DatasoleError `BUSY` */
  set (value: V | DeepReadonly<V>): void
}

/** An object. The last write of each field wins. */
export interface ClientMap<V> extends AnyCrdt<'lww-map', Partial<V>> {
  /**
   * Writes a field.
   * @param field its name
   * @param value plain JSON
   * @throws TypeError `INVALID_JSON`, RangeError `TOO_DEEP`; DatasoleError `BUSY`
   */
  set<F extends keyof V & string> (field: F, value: NonNullable<V[F]> | DeepReadonly<NonNullable<V[F]>>): void
  /** Removes a field. @param field its name @throws DatasoleError `BUSY` */
  remove<F extends keyof V & string> (field: F): void
}

/** A Yjs document, as updates in base64. `value` contains the new updates. `bindYjs` of `datasole/client/yjs` uses it. */
export interface ClientDocument extends AnyCrdt<'yjs', string[]> {
  /** Adds a Yjs update. @param base64 the update @throws DatasoleError `BUSY` */
  update (base64: string): void
}

/** A client's handle of a CRDT. `V` is the value of a register, or the fields of a map. */
export type ClientCrdt<Type extends CrdtType, V> = {
  'pn-counter': ClientCounter
  'lww-register': ClientRegister<V>
  'lww-map': ClientMap<V>
  yjs: ClientDocument
}[Type]

/**
 * Opens a CRDT: a value that many clients change concurrently. Operations apply locally at once, and the server merges
 * them with those of other clients. Operations made offline are sent after reconnecting, and count exactly once.
 * @param client a `LiveClient`, or a `DatasoleClient`
 * @param key the key
 * @param type `pn-counter`, `lww-register`, `lww-map` or `yjs`
 * @returns the handle
 * @throws DatasoleError `TYPE_MISMATCH` if this client has the key open as another type
 * @throws TypeError `INVALID_ARGUMENT` if the type is unknown
 */
export function crdt<C extends DatasoleContract, K extends CrdtName<C>, T extends CrdtTypeOf<C, K>> (client: LiveClient<C>, key: K, type: T): ClientCrdt<T, CrdtValue<C, K, T>> {
  return crdtHandle(client[FEATURES].of(makeCrdts), key, type) as ClientCrdt<T, CrdtValue<C, K, T>>
}

const makeCrdts = (host: ClientHost): ClientCrdts => new ClientCrdts(host)

/** Makes the handle of a key, with the operations of its type. */
export function crdtHandle (crdts: ClientCrdts, key: string, type: CrdtType): unknown {
  if (!isCrdtType(type)) throw invalidArgument(`crdt("${key}"): the type must be pn-counter, lww-register, lww-map or yjs`)
  let entry = crdts.open(key, type)
  const opened = (): typeof entry => (entry = crdts.open(key, type))
  const apply = (op: Parameters<ClientCrdts['apply']>[1]): void => { crdts.apply(opened(), op) }
  const copy = (value: unknown): unknown => copyJson(value, MAX_DEPTH)
  const common = {
    key,
    type,
    get value () { return entry.replica.value },
    get isSynced () { return entry.replica.head !== undefined },
    get isPending () { return entry.replica.pending.length > 0 },
    subscribe: (handler: (value: unknown) => void, options: CrdtSubscription = {}) => {
      checkHandler(`crdt("${key}").subscribe`, handler)
      return crdts.subscribe(opened(), { onValue: handler, ...options })
    },
    close: () => { crdts.close(entry) }
  }
  const operations = {
    'pn-counter': {
      increment: (value = 1) => { apply({ op: 'increment', value }) },
      decrement: (value = 1) => { apply({ op: 'decrement', value }) }
    },
    'lww-register': { set: (value: unknown) => { apply({ op: 'set', value: copy(value) }) } },
    yjs: { update: (value: string) => { apply({ op: 'update', value }) } },
    'lww-map': {
      set: (field: string, value: unknown) => { apply({ op: 'set', key: field, value: copy(value) }) },
      remove: (field: string) => { apply({ op: 'remove', key: field }) }
    }
  }
  return Object.defineProperties(operations[type], Object.getOwnPropertyDescriptors(common))
}
