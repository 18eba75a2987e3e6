import { type Check, type Compile, type SyncCheck, checkOf, syncCheckOf } from '../../contract/check.js'
import type { Contract, CrdtSchemas, EventSchemas, MethodSchemas } from '../../contract/define-contract.js'
import { invalidValue } from '../../contract/issues.js'
import { KeyIndex } from '../../contract/key-index.js'
import type { Schema } from '../../contract/schema.js'
import { stateCheckOf } from '../../contract/state-check.js'
import type { CrdtOp, CrdtType } from '../../crdt/crdt.js'
import { DatasoleError } from '../../protocol/errors.js'
import type { DatasoleContract, MatchedKey } from '../../protocol/contract.js'
import { Refusal } from '../errors/refusal.js'
import type { Part } from '../lifecycle/part.js'
import type { Scope } from '../scope/scope.js'
import type { ValueCheck } from '../store/write.js'

/** The checks of an event. A direction that the contract does not have refuses all data. */
interface EventChecks {
  readonly toServer: Check | undefined
  /** As `toServer`, but synchronous, for events of server code. */
  readonly emitted: SyncCheck | undefined
  readonly toClient: SyncCheck | undefined
}

/** The match of a key that is not in the contract. */
const UNKNOWN: MatchedKey<DatasoleContract> = {}

/** Checks an operation on a CRDT; undefined admits it. */
export type CrdtCheck = (op: Pick<CrdtOp, 'type' | 'op' | 'key' | 'value'>) => Refusal | undefined

/**
 * The checks of a contract for events, state and CRDTs. They are compiled in the root scope, at start or on first use.
 * The schemas of methods are compiled in the scope of each method.
 */
export class ContractChecks implements Part {
  readonly contract: Contract | undefined
  readonly #compile: Compile
  readonly #events = new Map<string, () => EventChecks>()
  readonly #state: KeyIndex<() => ValueCheck>
  readonly #crdts: KeyIndex<() => CrdtCheck>
  readonly #types: KeyIndex<CrdtType>
  readonly #all: Array<() => unknown> = []

  constructor (contract: Contract | undefined, root: Scope) {
    const { events = {}, state = {}, crdts = {} } = contract?.schemas ?? {}
    this.contract = contract
    this.#compile = (where, schema) => root.compile(where, schema)
    for (const [name, schemas] of Object.entries(events)) this.#events.set(name, this.#once(() => this.#eventChecks(name, schemas)))
    this.#state = new KeyIndex(Object.entries(state).map(([name, schema]) => [name, this.#once(() => this.#stateCheck(name, schema))] as const))
    this.#types = new KeyIndex(Object.entries(crdts).map(([name, { type }]) => [name, type] as const))
    this.#crdts = new KeyIndex(Object.entries(crdts).map(([name, schemas]) => [name, this.#once(() => this.#crdtCheck(name, schemas))] as const))
  }

  /** @throws DatasoleError `INVALID_OPTION` for a schema that does not compile */
  start (): void {
    for (const compile of this.#all) compile()
  }

  method (name: string): MethodSchemas | undefined {
    const methods = this.contract?.schemas.rpc ?? {}
    return Object.hasOwn(methods, name) ? methods[name] : undefined
  }

  /** The check of a client's event; undefined if nothing is checked. */
  toServer (event: string): Check | undefined {
    return this.#events.get(event)?.().toServer
  }

  /**
   * Checks the data of an event that server code emits, and returns it as handlers get it.
   * @throws TypeError `INVALID_VALUE` if the contract refuses it
   */
  emitted (event: string, data: unknown): unknown {
    return accepted(event, data, this.#events.get(event)?.().emitted)
  }

  /**
   * Checks the data of a broadcast, and returns it as clients get it.
   * @throws TypeError `INVALID_VALUE` if the contract refuses it
   */
  toClient (event: string, data: unknown): unknown {
    return accepted(event, data, this.#events.get(event)?.().toClient)
  }

  /** The check of a JSON value; undefined for a key that is not in the contract. */
  state (key: string): ValueCheck | undefined {
    return this.channelState(key) ?? (this.#crdts.find(key) === undefined ? undefined : isCrdt)
  }

  /** As `state`, for a channel of mode `crdt`. */
  channelState (key: string): ValueCheck | undefined {
    return this.#state.find(key)?.value()
  }

  /** The check of the value that results from an operation on a channel of mode `crdt`. */
  channelCheck (key: string, isChannel: boolean): ((value: unknown) => void) | undefined {
    const check = isChannel ? this.channelState(key) : undefined
    return check && ((value) => { check(value, ['']) })
  }

  /** @throws DatasoleError `TYPE_MISMATCH` if the contract has the key with another type */
  checkType (key: string, type: CrdtType, isChannel: boolean): void {
    const known = this.#state.find(key) === undefined ? this.#types.find(key)?.value : isChannel ? undefined : 'state'
    if (known !== undefined && known !== type) throw new DatasoleError('TYPE_MISMATCH', `crdt.register("${key}"): the contract has the key as ${known}`)
  }

  /**
   * The refusal of an operation on a CRDT; undefined if it is valid.
   * @param isChannel whether the key is a channel of mode `crdt`, whose value is state
   */
  operation (key: string, op: Parameters<CrdtCheck>[0], isChannel: boolean): Refusal | undefined {
    if (this.#state.find(key) !== undefined) return isChannel ? undefined : new Refusal('UNKNOWN_KEY', 'the contract has the key as state')
    return this.#crdts.find(key)?.value()(op)
  }

  /** The contract's template that a key matches, and the values of its parameters. */
  keyParams (key: string): MatchedKey<DatasoleContract> {
    if (this.contract === undefined) return UNKNOWN
    const { name, params } = this.#state.find(key) ?? this.#crdts.find(key) ?? {}
    return name === undefined ? UNKNOWN : { pattern: name, params: params! }
  }

  #eventChecks (name: string, { toServer, toClient }: EventSchemas): EventChecks {
    const where = `contract: events.${name}`
    const missing = (direction: string): SyncCheck => () => ({ issues: [{ path: '', message: `has no ${direction} in the contract` }] })
    return {
      toServer: toServer === undefined ? missing('toServer') : checkOf(toServer, `${where}.toServer`, this.#compile),
      emitted: toServer === undefined ? missing('toServer') : syncCheckOf(toServer, `${where}.toServer`, this.#compile),
      toClient: toClient === undefined ? missing('toClient') : syncCheckOf(toClient, `${where}.toClient`, this.#compile)
    }
  }

  #stateCheck (name: string, schema: Schema): ValueCheck {
    const check = stateCheckOf(schema, `contract: state.${name}`, this.#compile)
    return (value, changed) => {
      const issues = check?.(value, changed)
      if (issues !== undefined) throw invalidValue(`the value of "${name}"`, issues)
    }
  }

  #crdtCheck (name: string, { type, value, fields = {}, values }: CrdtSchemas): CrdtCheck {
    const compile = (schema: Schema | undefined, where: string): SyncCheck | undefined => schema && syncCheckOf(schema, `contract: crdts.${name}.${where}`, this.#compile)
    const own = new Map(Object.entries(fields).map(([field, schema]) => [field, compile(schema, `fields.${field}`)]))
    const any = compile(value ?? values, value === undefined ? 'values' : 'value')
    const isClosed = own.size > 0 && values === undefined
    return (op) => {
      if (op.type !== type) return new Refusal('CONFLICT', `the contract has the key as a ${type}`)
      if (op.op !== 'set') return undefined
      const check = type === 'lww-map' && own.has(op.key!) ? own.get(op.key!) : any
      if (type === 'lww-map' && isClosed && !own.has(op.key!)) return new Refusal('INVALID_VALUE', 'the contract has no such field')
      const issues = check?.(op.value)?.issues
      return issues && new Refusal('INVALID_VALUE', invalidValue('the value', issues).message, { issues })
    }
  }

  #once<T> (make: () => T): () => T {
    let made: { value: T } | undefined
    const get = (): T => (made ??= { value: make() }).value
    this.#all.push(get)
    return get
  }
}

const isCrdt: ValueCheck = () => { throw invalidValue('the value', [{ path: '', message: 'is a CRDT in the contract' }]) }

/** @throws TypeError `INVALID_VALUE` */
function accepted (event: string, data: unknown, check: SyncCheck | undefined): unknown {
  const verdict = check?.(data)
  if (verdict?.issues !== undefined) throw invalidValue(`event "${event}"`, verdict.issues)
  return verdict === undefined ? data : verdict.value
}
