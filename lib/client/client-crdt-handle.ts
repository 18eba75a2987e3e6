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

/** Nesting levels of a value: the server's default. */
const MAX_DEPTH = 128

/** Options of `subscribe` of a CRDT. */
export interface CrdtSubscription {
  /** Gets refused operations, which are undone, and a refused subscription. Default: the client's `onError`. */
  onError?: (error: DatasoleError) => void
  /** Called when the server has acknowledged every operation. */
  onSettled?: () => void
}

/** The members that all CRDTs have for a client. `V` is the value. */
interface AnyCrdt<Type, V> {
  /** The key of the CRDT. */
  readonly key: string
  /** `pn-counter`, `lww-register`, `lww-map` or `yjs`. */
  readonly type: Type
  /** The value, with own operations that the server has not included yet. It is frozen. */
  readonly value: DeepReadonly<V>
  /** Whether the server's value has arrived. */
  readonly isSynced: boolean
  /** Whether operations of this client wait for acknowledgement. */
  readonly isPending: boolean
  /**
   * Calls the handler as soon as the value is known and after each change, own changes included.
   * @param handler gets the value
   * @param options `onError` and `onSettled`. Default none
   * @returns unsubscribes the handler
   * @throws TypeError `INVALID_ARGUMENT`
   */
  subscribe (handler: (value: DeepReadonly<V>) => void, options?: CrdtSubscription): Unsubscribe
  /** Unsubscribes from the key. Waiting operations are still sent. An operation opens the key again. */
  close (): void
}

/** A number that many change at once. Operations throw a DatasoleError `BUSY` if too many wait to be sent. */
export interface ClientCounter extends AnyCrdt<'pn-counter', number> {
  /** Adds to the counter. @param amount from 0; default 1 */
  increment (amount?: number): void
  /** Subtracts from the counter. @param amount from 0; default 1 */
  decrement (amount?: number): void
}

/** A value whose last write wins. It is undefined before the first write. */
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

/** A Yjs document, as updates in base64. `value` has the new ones. `bindYjs` of `datasole/client/yjs` uses it. */
export interface ClientDocument extends AnyCrdt<'yjs', string[]> {
  /** Adds an update of Yjs. @param base64 the update @throws DatasoleError `BUSY` */
  update (base64: string): void
}

/** The handle of a CRDT for a client. `V` is the value of a register, or the fields of a map. */
export type ClientCrdt<Type extends CrdtType, V> = {
  'pn-counter': ClientCounter
  'lww-register': ClientRegister<V>
  'lww-map': ClientMap<V>
  yjs: ClientDocument
}[Type]

/**
 * Opens a CRDT of the client: a value that many clients change at once. Operations show at once, and are merged with
 * those of others. Operations made offline are sent with the next connection, and count once.
 * @param client a `LiveClient`, or a `DatasoleClient`
 * @param key the key
 * @param type `pn-counter`, `lww-register`, `lww-map` or `yjs`
 * @returns the handle
 * @throws DatasoleError `TYPE_MISMATCH` if this client has the key open as another type
 * @throws TypeError `INVALID_ARGUMENT` for another type
 */
export function crdt<C extends DatasoleContract, K extends CrdtName<C>, T extends CrdtTypeOf<C, K>> (client: LiveClient<C>, key: K, type: T): ClientCrdt<T, CrdtValue<C, K, T>> {
  return crdtHandle(client[FEATURES].of(makeCrdts), key, type) as ClientCrdt<T, CrdtValue<C, K, T>>
}

const makeCrdts = (host: ClientHost): ClientCrdts => new ClientCrdts(host)

/** The handle of a key, with the operations of its type. */
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
