import type { CrdtOp, CrdtType } from '../../crdt/crdt.js'
import type { CrdtName, CrdtTypeOf, CrdtValue } from '../../protocol/contract.js'
import { DatasoleError } from '../../protocol/errors.js'
import type { Unsubscribe } from '../../protocol/unsubscribe.js'
import type { CrdtListener } from './crdts.js'
import { ScopedFacade } from '../facades.js'

/** An operation of server code: `nodeId` and `timestamp` are its own where they are left out. */
export type ServerOp = Omit<CrdtOp, 'nodeId' | 'timestamp'> & Partial<Pick<CrdtOp, 'nodeId' | 'timestamp'>>

/** What all CRDTs have in common for server code. */
interface AnyCrdt<Type, V> {
  readonly key: string
  readonly type: Type
  /** The value that the store has, as this node knows it: a copy of your own; undefined where nobody has written any. */
  value (): Promise<V | undefined>
}

/** A number that many change at once, and none of whose changes is lost. */
export interface ServerCounter extends AnyCrdt<'pn-counter', number> {
  /** Resolves once the store has it. @param amount from 0; default 1 */
  increment (amount?: number): Promise<void>
  decrement (amount?: number): Promise<void>
}

/** A value of which the last write wins. */
export interface ServerRegister<V> extends AnyCrdt<'lww-register', V> {
  set (value: V): Promise<void>
}

/** Fields, of each of which the last write wins. */
export interface ServerMap<V> extends AnyCrdt<'lww-map', V> {
  set<F extends keyof V & string> (field: F, value: NonNullable<V[F]>): Promise<void>
  remove<F extends keyof V & string> (field: F): Promise<void>
}

/** A Yjs document, as updates in base64 that make it up. */
export interface ServerDocument extends AnyCrdt<'yjs', string[]> {
  update (base64: string): Promise<void>
}

export type ServerCrdt<Type extends CrdtType, V> = {
  'pn-counter': ServerCounter
  'lww-register': ServerRegister<V>
  'lww-map': ServerMap<V>
  yjs: ServerDocument
}[Type]

/** `ds.primitives.crdt`: values that clients and servers change at once, and that converge. */
export class CrdtFacade<C, S> extends ScopedFacade<S> {
  /**
   * Declares a key as this scope's, so that its `preSubscribe` and `prePush` hooks guard it, and makes it:
   * clients of protocol version 1 are told of it from then on.
   * @throws DatasoleError `DUPLICATE_KEY` where it is registered already, `LIMIT_EXCEEDED` beyond `maxCrdtKeys`, those of
   *   clients included as soon as they are known: what is registered before the server has started is made in any case
   */
  register<K extends CrdtName<C>, T extends CrdtTypeOf<C, K>> (key: K, type: T): ServerCrdt<T, CrdtValue<C, K, T>> {
    this.core.crdts.register(key, type, this.scope)
    return this.#handle(key, type) as ServerCrdt<T, CrdtValue<C, K, T>>
  }

  /**
   * The same, for code that may run twice: a key that is registered already is given again.
   * @throws DatasoleError `TYPE_MISMATCH` where it is registered as another type
   */
  registerByType<K extends CrdtName<C>, T extends CrdtTypeOf<C, K>> (key: K, type: T): ServerCrdt<T, CrdtValue<C, K, T>> {
    const known = this.core.crdts.typeOf(key)
    if (known === undefined) return this.register(key, type)
    if (known !== type) throw new DatasoleError('TYPE_MISMATCH', `crdt.registerByType("${key}"): it is registered as ${known}`)
    return this.#handle(key, type) as ServerCrdt<T, CrdtValue<C, K, T>>
  }

  /** A key that server code has registered; undefined for any other. */
  get<K extends CrdtName<C>> (key: K): ServerCrdt<CrdtTypeOf<C, K>, CrdtValue<C, K, CrdtTypeOf<C, K>>> | undefined {
    const type = this.core.crdts.typeOf(key)
    return type && this.#handle(key, type) as ServerCrdt<CrdtTypeOf<C, K>, CrdtValue<C, K, CrdtTypeOf<C, K>>>
  }

  /** The value of any key, those that clients have made included; undefined where there is no such key. */
  getValue<K extends CrdtName<C>> (key: K): Promise<CrdtValue<C, K, CrdtTypeOf<C, K>> | undefined> {
    return this.core.crdts.value(key) as Promise<CrdtValue<C, K, CrdtTypeOf<C, K>> | undefined>
  }

  /**
   * Applies an operation, and makes the key where it is not there. Resolves once the store has it.
   * With `nodeId` and `seq`, applying it again changes nothing.
   * @throws TypeError `INVALID_ARGUMENT` where it is none; DatasoleError `CONFLICT` for a key of another type, `LIMIT_EXCEEDED`;
   *   as the backend does
   */
  apply<K extends CrdtName<C>> (key: K, op: ServerOp): Promise<void> {
    return this.core.crdts.apply(key, op)
  }

  /**
   * `fn(key, value, type)` hears of every change of a key that this node holds: one that is registered here,
   * or that a client here has subscribed to. `value` is a copy, made for each call.
   */
  onChange (fn: CrdtListener): Unsubscribe {
    return this.core.crdts.onChange(fn)
  }

  /**
   * Deletes a key that clients have made; to clients it is as if it had never been there. Resolves to whether it was.
   * @throws DatasoleError `REGISTERED` for a key that server code has registered
   */
  delete (key: CrdtName<C>): Promise<boolean> {
    return this.core.crdts.delete(key)
  }

  #handle (key: string, type: CrdtType): unknown {
    const { crdts } = this.core
    const apply = (op: CrdtOp['op'], more: Partial<CrdtOp>): Promise<void> => crdts.apply(key, { type, op, ...more })
    const common = { key, type, value: () => crdts.value(key) }
    if (type === 'yjs') return { ...common, update: (value: string) => apply('update', { value }) }
    if (type === 'lww-register') return { ...common, set: (value: unknown) => apply('set', { value }) }
    if (type === 'lww-map') return { ...common, set: (field: string, value: unknown) => apply('set', { key: field, value }), remove: (field: string) => apply('remove', { key: field }) }
    return { ...common, increment: (value = 1) => apply('increment', { value }), decrement: (value = 1) => apply('decrement', { value }) }
  }
}
