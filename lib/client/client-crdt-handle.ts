import type { CrdtType } from '../crdt/crdt.js'
import { isCrdtType } from '../crdt/types.js'
import { type DatasoleError, checkHandler, invalidArgument } from '../protocol/errors.js'
import type { DeepReadonly } from '../protocol/frozen.js'
import { copyJson } from '../protocol/json.js'
import type { Unsubscribe } from '../protocol/unsubscribe.js'
import type { ClientCrdts } from './client-crdts.js'

/** Levels of nesting of a value, as servers take them by default. */
const MAX_DEPTH = 128

export interface CrdtSubscription {
  /** Hears of operations that were refused, and so undone, and of a refused subscription. Default: the client's `onError`. */
  onError?: (error: DatasoleError) => void
  /** Hears when the server has acknowledged all that there was. */
  onSettled?: () => void
}

/** The members that all CRDTs have for a client. `V` is the value. */
interface AnyCrdt<Type, V> {
  readonly key: string
  readonly type: Type
  /** The value, with own operations that the server has not included yet. It is frozen. */
  readonly value: DeepReadonly<V>
  /** The server has said what it has. */
  readonly isSynced: boolean
  /** The server has operations of this client still to acknowledge. */
  readonly isPending: boolean
  /** Hears the value as soon as it is known and after each change, whoever made it. */
  subscribe (handler: (value: DeepReadonly<V>) => void, options?: CrdtSubscription): Unsubscribe
  /** Follows the key no more; operations that wait are still sent. An operation opens it again. */
  close (): void
}

/** A number that many change at once. Operations throw a DatasoleError `BUSY` where too much waits to be sent. */
export interface ClientCounter extends AnyCrdt<'pn-counter', number> {
  /** @param amount from 0; default 1 */
  increment (amount?: number): void
  decrement (amount?: number): void
}

/** A value of which the last write wins; undefined until somebody has written one. */
export interface ClientRegister<V> extends AnyCrdt<'lww-register', V | undefined> {
  set (value: V | DeepReadonly<V>): void
}

/** Fields, of each of which the last write wins. */
export interface ClientMap<V> extends AnyCrdt<'lww-map', Partial<V>> {
  set<F extends keyof V & string> (field: F, value: NonNullable<V[F]> | DeepReadonly<NonNullable<V[F]>>): void
  remove<F extends keyof V & string> (field: F): void
}

/** A Yjs document, as updates in base64: `value` is those that are new. What `bindYjs` of `datasole/client/yjs` is made of. */
export interface ClientDocument extends AnyCrdt<'yjs', string[]> {
  update (base64: string): void
}

export type ClientCrdt<Type extends CrdtType, V> = {
  'pn-counter': ClientCounter
  'lww-register': ClientRegister<V>
  'lww-map': ClientMap<V>
  yjs: ClientDocument
}[Type]

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
