import type { CrdtType } from '../../crdt/crdt.js'
import type { CrdtName, CrdtTypeOf, CrdtValue } from '../../protocol/contract.js'
import { type ServerCrdt, type ServerOp, checkCrdtKey, crdtHandle, readServerOp } from '../../server/crdts/crdt-handle.js'
import type { MainLink } from './main-link.js'

/**
 * `ds.primitives.crdt` in a worker. The values are on the main thread. There is no `register`, because every thread
 * runs the script, and a second registration would throw. `onChange` exists only on the main thread.
 */
export class WorkerCrdt<C> {
  readonly #link: MainLink
  readonly #maxDepth: number

  constructor (link: MainLink, maxDepth: number) {
    this.#link = link
    this.#maxDepth = maxDepth
  }

  /**
   * Registers a key, or returns the handle if it is registered already.
   * @param key the key
   * @param type `pn-counter`, `lww-register`, `lww-map` or `yjs`
   * @returns the handle
   * @throws DatasoleError `TYPE_MISMATCH` if it is registered as another type; else the same as `register` on the main thread
   */
  async registerByType<K extends CrdtName<C>, T extends CrdtTypeOf<C, K>> (key: K, type: T): Promise<ServerCrdt<T, CrdtValue<C, K, T>>> {
    await this.#link.request('crdtRegister', checkCrdtKey(key), type)
    return this.#handle(key, type) as ServerCrdt<T, CrdtValue<C, K, T>>
  }

  /** Finds a key that server code registered in any thread. @param key the key @returns the handle; undefined for other keys */
  async get<K extends CrdtName<C>> (key: K): Promise<ServerCrdt<CrdtTypeOf<C, K>, CrdtValue<C, K, CrdtTypeOf<C, K>>> | undefined> {
    const type = await this.#link.request('crdtType', checkCrdtKey(key)) as CrdtType | undefined
    return type && this.#handle(key, type) as ServerCrdt<CrdtTypeOf<C, K>, CrdtValue<C, K, CrdtTypeOf<C, K>>>
  }

  /** Reads the value of any key, including keys of clients. @param key the key @returns undefined if there is no such key */
  async getValue<K extends CrdtName<C>> (key: K): Promise<CrdtValue<C, K, CrdtTypeOf<C, K>> | undefined> {
    return await this.#link.request('crdtValue', checkCrdtKey(key)) as CrdtValue<C, K, CrdtTypeOf<C, K>> | undefined
  }

  /**
   * Applies an operation, and creates the key if it does not exist. Resolves when the operation is stored.
   * @param key the key
   * @param op the same as on the main thread
   * @throws TypeError `INVALID_ARGUMENT`, `INVALID_JSON`
   * @throws DatasoleError `CONFLICT`, `LIMIT_EXCEEDED`
   * @throws the backend's errors
   */
  async apply<K extends CrdtName<C>> (key: K, op: ServerOp): Promise<void> {
    // check before JSON drops members; the main thread sets missing nodeId and timestamp
    const { nodeId, timestamp, ...read } = readServerOp(key, op, 'thread', this.#maxDepth)
    await this.#link.request('crdtApply', key, { ...read, ...op.nodeId !== undefined && { nodeId }, ...op.timestamp !== undefined && { timestamp } })
  }

  /**
   * Deletes a key that clients created.
   * @param key the key
   * @returns whether it existed
   * @throws DatasoleError `REGISTERED` if server code has registered the key
   */
  async delete (key: CrdtName<C>): Promise<boolean> {
    return await this.#link.request('crdtDelete', checkCrdtKey(key)) as boolean
  }

  #handle (key: string, type: CrdtType): unknown {
    return crdtHandle(key, type, { value: () => this.getValue(key as CrdtName<C>), apply: (op) => this.apply(key as CrdtName<C>, op) })
  }
}
