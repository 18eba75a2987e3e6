import { DatasoleError, messageOf } from '../protocol/errors.js'
import { KeyIndex } from './key-index.js'
import { type Schema, isSchema, standardOf } from './schema.js'
import { rangeOf } from './version.js'

/** The schemas of a method. */
export interface MethodSchemas {
  /** Default: anything. */
  params?: Schema
  /** Default: anything. */
  result?: Schema
  /** Schemas of the details of the method's errors, by error code. Default none. */
  errors?: Record<string, Schema>
}

/** The schemas of an event, by direction. */
export interface EventSchemas {
  /** The data that clients send. */
  toServer?: Schema
  /** The data that the server sends. */
  toClient?: Schema
}

/** A CRDT of a contract: its type, and schemas of a register's value or of a map's fields. */
export type CrdtDefinition =
  | 'pn-counter' | 'yjs' | 'lww-register' | 'lww-map'
  | { type: 'pn-counter' | 'yjs' }
  | { type: 'lww-register', value?: Schema }
  | { type: 'lww-map', fields?: Record<string, Schema>, values?: Schema }

/** A CRDT of a contract in its full form. */
export interface CrdtSchemas { type: 'pn-counter' | 'yjs' | 'lww-register' | 'lww-map', value?: Schema, fields?: Record<string, Schema>, values?: Schema }

/** A contract's schemas, by section and name. */
export interface ContractSchemas {
  readonly rpc: Readonly<Record<string, MethodSchemas>>
  readonly events: Readonly<Record<string, EventSchemas>>
  readonly state: Readonly<Record<string, Schema>>
  readonly crdts: Readonly<Record<string, CrdtSchemas>>
}

/** The argument of `defineContract`: see docs/contract.md. */
export interface ContractDefinition {
  /** Methods, by name. */
  rpc?: Record<string, MethodSchemas>
  /** Events, by name: one schema for both directions, or one for each. */
  events?: Record<string, Schema | EventSchemas>
  /** Live state, by key; a key may be a template such as `room:{id}`. */
  state?: Record<string, Schema>
  /** CRDTs, by key; a key may be a template. */
  crdts?: Record<string, CrdtDefinition>
  /** The version of this contract, a whole number. */
  version?: number
  /** Client versions that the server accepts: `>=6`, `>=6 <9` or `6 || 8`. Default: the same version. */
  accepts?: string
}

const CRDTS: readonly string[] = ['pn-counter', 'yjs', 'lww-register', 'lww-map']
const BRAND = Symbol.for('datasole.contract')

/** A contract made by `defineContract`: the schemas of an application. Its type parameter carries their types. */
export class Contract<out D = ContractDefinition> {
  /** The argument of `defineContract`. Types are derived from it. */
  readonly definition: D
  /** @internal The schemas in their full form. */
  readonly schemas: ContractSchemas
  /** The version of the contract; undefined if it has none. */
  readonly version: number | undefined
  /** The client versions that the server accepts; undefined for all. */
  readonly accepts: string | undefined
  readonly #isAccepted: (version: number) => boolean

  /** @internal */
  constructor (definition: D) {
    const { rpc = {}, events = {}, state = {}, crdts = {}, version, accepts } = checked(definition as ContractDefinition)
    this.definition = definition
    this.schemas = {
      rpc,
      events: Object.fromEntries(Object.entries(events).map(([name, event]) => [name, isDirected(event) ? event : { toServer: event, toClient: event }])),
      state,
      crdts: Object.fromEntries(Object.entries(crdts).map(([name, crdt]) => [name, typeof crdt === 'string' ? { type: crdt } : crdt]))
    }
    this.version = version
    this.accepts = accepts ?? (version === undefined ? undefined : String(version))
    this.#isAccepted = this.accepts === undefined ? () => true : rangeOf(this.accepts)
    Object.defineProperty(this, BRAND, { value: true })
    Object.freeze(this)
  }

  /** Tests whether a server with this contract accepts a client. @param version the version of the client's contract */
  isAccepted (version: number): boolean {
    return this.#isAccepted(version)
  }

  /** Tests whether a value is a contract, even one from another copy of the package. @param value any value */
  static isContract (value: unknown): value is Contract {
    return typeof value === 'object' && value !== null && BRAND in value
  }
}

/**
 * Defines the messages of an application. Types, checks and documentation are derived from the definition.
 * @param definition schemas of methods, events, state and CRDTs: Standard Schemas (zod, valibot, arktype), TypeBox, or
 *   JSON Schema (draft-07)
 * @returns the contract, for the server option `contract` and for types
 * @throws DatasoleError `INVALID_CONTRACT`; the message names the wrong place
 */
export function defineContract<const D extends ContractDefinition> (definition: D): Contract<D> {
  return new Contract(definition)
}

/** Whether an event has a schema per direction, rather than one schema for both. */
function isDirected (event: Schema | EventSchemas): event is EventSchemas {
  const names = Object.keys(event)
  return standardOf(event) === undefined && names.length > 0 && names.every((name) => name === 'toServer' || name === 'toClient')
}

function checked (definition: ContractDefinition): ContractDefinition {
  checkMembers('the definition', definition, ['rpc', 'events', 'state', 'crdts', 'version', 'accepts'])
  const { rpc = {}, events = {}, state = {}, crdts = {}, version, accepts } = definition
  for (const [name, method] of entriesOf('rpc', rpc)) {
    checkMembers(`rpc.${name}`, method, ['params', 'result', 'errors'])
    for (const side of ['params', 'result'] as const) if (method[side] !== undefined) checkSchema(`rpc.${name}.${side}`, method[side])
    for (const [code, schema] of entriesOf(`rpc.${name}.errors`, method.errors ?? {})) checkSchema(`rpc.${name}.errors.${code}`, schema)
  }
  for (const [name, event] of entriesOf('events', events)) {
    checkSchema(`events.${name}`, event)
    if (isDirected(event)) for (const [side, schema] of Object.entries(event)) checkSchema(`events.${name}.${side}`, schema)
  }
  for (const [name, schema] of entriesOf('state', state)) checkSchema(`state.${name}`, schema)
  for (const [name, crdt] of entriesOf('crdts', crdts)) checkCrdt(`crdts.${name}`, crdt)
  checkKeys('state', state)
  checkKeys('crdts', crdts)
  for (const name of Object.keys(crdts)) if (Object.hasOwn(state, name)) throw invalid(`crdts.${name}`, 'is already a key of state')
  if (version !== undefined && !(Number.isSafeInteger(version) && version >= 0)) throw invalid('version', 'must be a whole number from 0')
  if (accepts !== undefined) checkRange(accepts, version)
  return definition
}

function checkCrdt (where: string, crdt: CrdtDefinition): void {
  if (typeof crdt !== 'string') checkMembers(where, crdt, ['type', 'value', 'fields', 'values'])
  const { type, value, fields = {}, values }: CrdtSchemas = typeof crdt === 'string' ? { type: crdt } : crdt
  if (!CRDTS.includes(type)) throw invalid(where, `must be of type ${CRDTS.join(', ')}`)
  if (value !== undefined && type !== 'lww-register') throw invalid(`${where}.value`, 'is only for type lww-register')
  if ((values !== undefined || Object.keys(fields).length > 0) && type !== 'lww-map') throw invalid(where, 'has fields or values, which are only for type lww-map')
  if (value !== undefined) checkSchema(`${where}.value`, value)
  if (values !== undefined) checkSchema(`${where}.values`, values)
  for (const [field, schema] of entriesOf(`${where}.fields`, fields)) checkSchema(`${where}.fields.${field}`, schema)
}

function checkKeys (section: string, keys: object): void {
  for (const name of Object.keys(keys)) checkTemplates(`${section}.${name}`, [name])
  checkTemplates(section, Object.keys(keys))
}

function checkTemplates (where: string, names: string[]): void {
  try {
    void new KeyIndex(names.map((name) => [name, true] as const))
  } catch (error) {
    throw invalid(where, messageOf(error))
  }
}

function checkRange (accepts: string, version: number | undefined): void {
  if (version === undefined) throw invalid('accepts', 'needs a version: add the member version')
  try {
    rangeOf(accepts)
  } catch (error) {
    throw invalid('accepts', messageOf(error))
  }
}

function checkMembers (where: string, value: object, allowed: string[]): void {
  if (typeof value !== 'object' || value === null) throw invalid(where, 'must be an object')
  for (const name of Object.keys(value)) if (!allowed.includes(name)) throw invalid(where, `has an unknown member ${name}: use ${allowed.join(', ')}`)
}

function entriesOf<T> (where: string, section: Record<string, T>): Array<[string, T]> {
  if (typeof section !== 'object' || section === null) throw invalid(where, 'must be an object')
  for (const name of Object.keys(section)) if (name === '') throw invalid(where, 'has an empty name')
  return Object.entries(section)
}

function checkSchema (where: string, schema: unknown): void {
  if (!isSchema(schema)) throw invalid(where, 'must be a Standard Schema, a TypeBox schema or a JSON Schema')
}

function invalid (where: string, why: string): DatasoleError {
  return new DatasoleError('INVALID_CONTRACT', `defineContract: ${where} ${why}`)
}
