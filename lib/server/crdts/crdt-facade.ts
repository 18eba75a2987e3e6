import type { CrdtType } from '../../crdt/crdt.js'
import type { CrdtName, CrdtTypeOf, CrdtValue } from '../../protocol/contract.js'
import type { Unsubscribe } from '../../protocol/unsubscribe.js'
import { ScopedFacade } from '../scope/facade.js'
import type { Scope } from '../scope/scope.js'
import { type ServerCrdt, type ServerOp, crdtHandle } from './crdt-handle.js'
import type { CrdtListener, Crdts } from './crdts.js'

/** `ds.primitives.crdt`: values that clients and servers change at once, and that converge. */
export class CrdtFacade<C, S> extends ScopedFacade<S> {
  readonly #crdts: Crdts

  constructor (crdts: Crdts, server: S, scope: Scope) {
    super(server, scope)
    this.#crdts = crdts
  }

  /**
   * Declares a key as this scope's, so that its `preSubscribe` and `prePush` hooks guard it, and makes it:
   * clients of protocol version 1 are told of it from then on.
   * @param type `pn-counter`, `lww-register`, `lww-map` or `yjs`
   * @returns the key, with the operations of the type
   * @throws DatasoleError `DUPLICATE_KEY` where it is registered already, `LIMIT_EXCEEDED` beyond `maxCrdtKeys`, those of
   *   clients included as soon as they are known: what is registered before the server has started is made in any case
   */
  register<K extends CrdtName<C>, T extends CrdtTypeOf<C, K>> (key: K, type: T): ServerCrdt<T, CrdtValue<C, K, T>> {
    this.#crdts.register(key, type, this.scope)
    return this.#handle(key, type) as ServerCrdt<T, CrdtValue<C, K, T>>
  }

  /**
   * The same, for code that may run twice: a key that is registered already is given again.
   * @returns the key, with the operations of the type
   * @throws DatasoleError `TYPE_MISMATCH` where it is registered as another type
   */
  registerByType<K extends CrdtName<C>, T extends CrdtTypeOf<C, K>> (key: K, type: T): ServerCrdt<T, CrdtValue<C, K, T>> {
    this.#crdts.registerOnce(key, type, this.scope)
    return this.#handle(key, type) as ServerCrdt<T, CrdtValue<C, K, T>>
  }

  /** A key that server code has registered; undefined for any other. */
  get<K extends CrdtName<C>> (key: K): ServerCrdt<CrdtTypeOf<C, K>, CrdtValue<C, K, CrdtTypeOf<C, K>>> | undefined {
    const type = this.#crdts.typeOf(key)
    return type && this.#handle(key, type) as ServerCrdt<CrdtTypeOf<C, K>, CrdtValue<C, K, CrdtTypeOf<C, K>>>
  }

  /** The value of any key, those that clients have made included; undefined where there is no such key. */
  getValue<K extends CrdtName<C>> (key: K): Promise<CrdtValue<C, K, CrdtTypeOf<C, K>> | undefined> {
    return this.#crdts.value(key) as Promise<CrdtValue<C, K, CrdtTypeOf<C, K>> | undefined>
  }

  /**
   * Applies an operation, and makes the key where it is not there. Resolves once the store has it.
   * With `nodeId` and `seq`, applying it again changes nothing.
   * @param op `type`, `op`, `value` (plain JSON), and for a map `key`. Default `nodeId` and `timestamp`: the server's
   * @throws TypeError `INVALID_ARGUMENT` where it is none, `INVALID_JSON`, or `INVALID_VALUE` where the contract
   *   refuses it
   * @throws DatasoleError `CONFLICT` for a key of another type, `LIMIT_EXCEEDED`, `BUSY`; as the backend does
   */
  apply<K extends CrdtName<C>> (key: K, op: ServerOp): Promise<void> {
    return this.#crdts.apply(key, op)
  }

  /**
   * `fn(key, value, type)` hears of every change of a key that this node holds: one that is registered here,
   * or that a client here has subscribed to. `value` is a copy, made for each call.
   * @returns ends it
   * @throws TypeError `INVALID_ARGUMENT`
   */
  onChange (fn: CrdtListener): Unsubscribe {
    return this.#crdts.onChange(fn)
  }

  /**
   * Deletes a key that clients have made; to clients it is as if it had never been there.
   * @returns whether it was there
   * @throws DatasoleError `REGISTERED` for a key that server code has registered
   */
  delete (key: CrdtName<C>): Promise<boolean> {
    return this.#crdts.delete(key)
  }

  #handle (key: string, type: CrdtType): unknown {
    const crdts = this.#crdts
    return crdtHandle(key, type, { value: () => crdts.value(key), apply: (op) => crdts.apply(key, op) })
  }
}
