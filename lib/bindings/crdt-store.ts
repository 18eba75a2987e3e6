import type { CrdtName, CrdtType, CrdtTypeOf, CrdtValue, DatasoleContract } from '../protocol/contract.js'
import type { DatasoleError } from '../protocol/errors.js'
import { type ClientCrdt, crdt } from '../client/client-crdt-handle.js'
import type { LiveClient } from '../client/live-client.js'
import { HeldStore, storeOf } from './held-store.js'

/** The state of a CRDT at one moment. */
export interface CrdtSnapshot<V = unknown> {
  /** The value, including own operations that the server does not have yet. It is frozen. */
  readonly value: V
  /** Whether the server's value has arrived. */
  readonly isSynced: boolean
  /** Whether own operations are unacknowledged. */
  readonly isPending: boolean
  /** The last error: of a refused operation, which is undone, or of a refused subscription. */
  readonly error: DatasoleError | undefined
}

/** The operations of a CRDT's type. */
export type CrdtOperations<Handle> = Omit<Handle, 'key' | 'type' | 'value' | 'isSynced' | 'isPending' | 'subscribe' | 'close'>

type AnyOperations = Record<string, (...args: never[]) => void>
type AnyHandle = ClientCrdt<CrdtType, unknown>

const OPERATIONS: Record<CrdtType, string[]> = { 'pn-counter': ['increment', 'decrement'], 'lww-register': ['set'], 'lww-map': ['set', 'remove'], yjs: ['update'] }
const EMPTY: Record<CrdtType, unknown> = { 'pn-counter': 0, 'lww-register': undefined, 'lww-map': Object.freeze({}), yjs: Object.freeze([]) }

/** The snapshot of a CRDT that is not open, for rendering on a server. */
export function closedCrdt (type: CrdtType): CrdtSnapshot {
  return CLOSED[type]
}

const CLOSED = Object.fromEntries(Object.entries(EMPTY).map(([type, value]) => [type, { value, isSynced: false, isPending: false, error: undefined }])) as unknown as Record<CrdtType, CrdtSnapshot>

/** The operations of a type as functions. @param operate applies an operation */
export function crdtOperations (type: CrdtType, operate: (name: string, args: never[]) => void): AnyOperations {
  return Object.fromEntries(OPERATIONS[type].map((name) => [name, (...args: never[]) => { operate(name, args) }]))
}

/** A CRDT as a store. All components of a client that show the key share it. */
export class CrdtStore<V = unknown, Operations = AnyOperations> extends HeldStore<CrdtSnapshot<V>> {
  readonly operations: Operations
  readonly #handle: () => AnyHandle

  constructor (client: LiveClient, key: string, type: CrdtType, keepMs: number, forget: () => void) {
    let handle: AnyHandle | undefined
    super({
      keepMs,
      closed: closedCrdt(type) as CrdtSnapshot<V>,
      ended: forget,
      open: (change) => {
        const opened = handle = crdt(client, key, type) as AnyHandle
        const refresh = (): void => { change({ value: opened.value as V, isSynced: opened.isSynced, isPending: opened.isPending }) }
        const end = opened.subscribe(refresh, { onSettled: refresh, onError: (error) => { change({ error }) } })
        refresh()
        return () => {
          end()
          opened.close()
          handle = undefined
        }
      }
    })
    this.#handle = () => {
      this.open()
      return handle!
    }
    this.operations = crdtOperations(type, (name, args) => { this.operate(name, args) }) as Operations
  }

  /** Applies an operation of the type. Opens the CRDT if it is closed. */
  operate (name: string, args: never[]): void {
    (this.#handle() as unknown as AnyOperations)[name]!(...args)
  }
}

/**
 * The store of a CRDT's key. @param keepMs used only by the first call for a key; default 5,000
 * @throws DatasoleError `TYPE_MISMATCH` when the store opens, if the client has the key open as another type
 */
export function crdtStore<C extends DatasoleContract, K extends CrdtName<C>, T extends CrdtTypeOf<C, K>> (client: LiveClient<C>, key: K, type: T, keepMs = 5000): CrdtStore<ClientCrdt<T, CrdtValue<C, K, T>>['value'], CrdtOperations<ClientCrdt<T, CrdtValue<C, K, T>>>> {
  return storeOf(client, `crdt ${type} ${key}`, (forget) => new CrdtStore(client as LiveClient, key, type, keepMs, forget)) as never
}
