import type { CrdtType } from '../../crdt/crdt.js'
import type { CrdtName, CrdtTypeOf, CrdtValue } from '../../protocol/contract.js'
import type { Unsubscribe } from '../../protocol/unsubscribe.js'
import { ScopedFacade } from '../scope/facade.js'
import type { Scope } from '../scope/scope.js'
import { type ServerCrdt, type ServerOp, crdtHandle } from './crdt-handle.js'
import type { CrdtListener, Crdts } from './crdts.js'

/** `ds.primitives.crdt`: values that clients and servers change concurrently, and that converge. */
export class CrdtFacade<C, S> extends ScopedFacade<S> {
  readonly #crdts: Crdts

  constructor (crdts: Crdts, server: S, scope: Scope) {
    super(server, scope)
    this.#crdts = crdts
  }

  /**
   * Declares a key in this scope, so that the scope's `preSubscribe` and `prePush` hooks guard it, and creates the key.
   * A key that is registered before the server starts is always created.
   * @param key the key
   * @param type `pn-counter`, `lww-register`, `lww-map` or `yjs`
   * @returns the handle of the key
   * @throws DatasoleError `DUPLICATE_KEY` if it is registered already, `LIMIT_EXCEEDED` beyond `maxCrdtKeys` (including
   *   keys of clients)
   */
  register<K extends CrdtName<C>, T extends CrdtTypeOf<C, K>> (key: K, type: T): ServerCrdt<T, CrdtValue<C, K, T>> {
    this.#crdts.register(key, type, this.scope)
    return this.#handle(key, type) as ServerCrdt<T, CrdtValue<C, K, T>>
  }

  /**
   * Registers a key as `register` does, for code that may run twice.
   * @param key the key
   * @param type `pn-counter`, `lww-register`, `lww-map` or `yjs`
   * @returns the handle of the key
   * @throws DatasoleError `TYPE_MISMATCH` if it is registered with another type
   */
  registerByType<K extends CrdtName<C>, T extends CrdtTypeOf<C, K>> (key: K, type: T): ServerCrdt<T, CrdtValue<C, K, T>> {
    this.#crdts.registerOnce(key, type, this.scope)
    return this.#handle(key, type) as ServerCrdt<T, CrdtValue<C, K, T>>
  }

  /**
   * Finds the handle of a key that server code has registered.
   * @param key the key
   * @returns the handle; undefined for any other key
   */
  get<K extends CrdtName<C>> (key: K): ServerCrdt<CrdtTypeOf<C, K>, CrdtValue<C, K, CrdtTypeOf<C, K>>> | undefined {
    const type = this.#crdts.typeOf(key)
    return type && this.#handle(key, type) as ServerCrdt<CrdtTypeOf<C, K>, CrdtValue<C, K, CrdtTypeOf<C, K>>>
  }

  /**
   * Reads the value of any key, including keys of clients.
   * @param key the key
   * @returns a copy; undefined if there is no such key
   * @throws as the backend does
   */
  getValue<K extends CrdtName<C>> (key: K): Promise<CrdtValue<C, K, CrdtTypeOf<C, K>> | undefined> {
    return this.#crdts.value(key) as Promise<CrdtValue<C, K, CrdtTypeOf<C, K>> | undefined>
  }

  /**
   * Applies an operation, and creates the key if it does not exist. Resolves when it is stored. With `nodeId` and
   * `seq`, applying it again changes nothing.
   * @param key the key
   * @param op `type`, `op`, `value` (plain JSON), and for a map `key`. Default `nodeId` and `timestamp`: the server's
   * @throws TypeError `INVALID_ARGUMENT` for a wrong operation, `INVALID_JSON`, or `INVALID_VALUE` if the contract
   *   refuses it
   * @throws DatasoleError `CONFLICT` for a key of another type, `LIMIT_EXCEEDED`, `BUSY`; as the backend does
   */
  apply<K extends CrdtName<C>> (key: K, op: ServerOp): Promise<void> {
    return this.#crdts.apply(key, op)
  }

  /**
   * Calls a function at every change of the keys that are loaded on this node: keys that are registered here, and keys
   * with subscribers here.
   * @param fn gets `(key, value, type)`; `value` is a copy, made for each call
   * @returns ends the subscription
   * @throws TypeError `INVALID_ARGUMENT`
   */
  onChange (fn: CrdtListener): Unsubscribe {
    return this.#crdts.onChange(fn)
  }

  /**
   * Deletes a key that clients have created. Clients then see that it does not exist.
   * @param key the key
   * @returns whether it existed
   * @throws DatasoleError `REGISTERED` if server code has registered the key
   */
  delete (key: CrdtName<C>): Promise<boolean> {
    return this.#crdts.delete(key)
  }

  #handle (key: string, type: CrdtType): unknown {
    const crdts = this.#crdts
    return crdtHandle(key, type, { value: () => crdts.value(key), apply: (op) => crdts.apply(key, op) })
  }
}
