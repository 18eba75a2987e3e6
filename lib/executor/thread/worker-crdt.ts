import type { CrdtType } from '../../crdt/crdt.js'
import type { CrdtName, CrdtTypeOf, CrdtValue } from '../../protocol/contract.js'
import { type ServerCrdt, type ServerOp, checkCrdtKey, crdtHandle, readServerOp } from '../../server/crdts/crdt-handle.js'
import type { MainLink } from './main-link.js'

/**
 * `ds.primitives.crdt` in a worker: the main thread has the values. There is no `register`, as every thread
 * runs the script and a second registration throws, and no `onChange`, which is the main thread's.
 */
export class WorkerCrdt<C> {
  readonly #link: MainLink
  readonly #maxDepth: number

  constructor (link: MainLink, maxDepth: number) {
    this.#link = link
    this.#maxDepth = maxDepth
  }

  /**
   * Declares a key, or gives the one that is registered already.
   * @throws DatasoleError `TYPE_MISMATCH` where it is registered as another type; as `register` on the main thread
   */
  async registerByType<K extends CrdtName<C>, T extends CrdtTypeOf<C, K>> (key: K, type: T): Promise<ServerCrdt<T, CrdtValue<C, K, T>>> {
    await this.#link.request('crdtRegister', checkCrdtKey(key), type)
    return this.#handle(key, type) as ServerCrdt<T, CrdtValue<C, K, T>>
  }

  /** A key that server code has registered, in whichever thread; undefined for any other. */
  async get<K extends CrdtName<C>> (key: K): Promise<ServerCrdt<CrdtTypeOf<C, K>, CrdtValue<C, K, CrdtTypeOf<C, K>>> | undefined> {
    const type = await this.#link.request('crdtType', checkCrdtKey(key)) as CrdtType | undefined
    return type && this.#handle(key, type) as ServerCrdt<CrdtTypeOf<C, K>, CrdtValue<C, K, CrdtTypeOf<C, K>>>
  }

  /** The value of any key, those that clients have made included; undefined where there is no such key. */
  async getValue<K extends CrdtName<C>> (key: K): Promise<CrdtValue<C, K, CrdtTypeOf<C, K>> | undefined> {
    return await this.#link.request('crdtValue', checkCrdtKey(key)) as CrdtValue<C, K, CrdtTypeOf<C, K>> | undefined
  }

  /**
   * Applies an operation, and makes the key where it is not there. Resolves once the store has it.
   * @throws TypeError `INVALID_ARGUMENT`, `INVALID_JSON`; DatasoleError `CONFLICT`, `LIMIT_EXCEEDED`; as the backend does
   */
  async apply<K extends CrdtName<C>> (key: K, op: ServerOp): Promise<void> {
    // here, where JSON has not left out anything yet; whose it is and when is the main thread's to say
    const { nodeId, timestamp, ...read } = readServerOp(key, op, 'thread', this.#maxDepth)
    await this.#link.request('crdtApply', key, { ...read, ...op.nodeId !== undefined && { nodeId }, ...op.timestamp !== undefined && { timestamp } })
  }

  /**
   * Deletes a key that clients have made. Resolves to whether it was there.
   * @throws DatasoleError `REGISTERED` for a key that server code has registered
   */
  async delete (key: CrdtName<C>): Promise<boolean> {
    return await this.#link.request('crdtDelete', checkCrdtKey(key)) as boolean
  }

  #handle (key: string, type: CrdtType): unknown {
    return crdtHandle(key, type, { value: () => this.getValue(key as CrdtName<C>), apply: (op) => this.apply(key as CrdtName<C>, op) })
  }
}
