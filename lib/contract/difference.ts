import type { Contract } from './define-contract.js'
import { jsonSchemaOf } from './json-schema-of.js'
import { type Schema, isUnchecked, standardOf } from './schema.js'

/** A comparable form of a contract that can be sent to a thread: each place, with a description of its schema. */
export type ContractOutline = ReadonlyArray<readonly [place: string, what: string]>

/** The outline of a contract, to compare it with another copy. */
export function outlineOf (contract: Contract): ContractOutline {
  const outline: Array<readonly [string, string]> = [['version', String(contract.version)], ['accepts', String(contract.accepts)]]
  const add = (place: string, schemas: object): void => {
    for (const [name, schema] of Object.entries(schemas)) if (schema !== undefined) outline.push([`${place}.${name}`, typeof schema === 'string' ? schema : describe(schema as Schema)])
  }
  for (const [name, { errors = {}, ...schemas }] of sorted(contract.schemas.rpc)) {
    outline.push([`rpc.${name}`, 'method'])
    add(`rpc.${name}`, schemas)
    add(`rpc.${name}.errors`, errors)
  }
  for (const [name, event] of sorted(contract.schemas.events)) add(`events.${name}`, event)
  for (const [name, schema] of sorted(contract.schemas.state)) outline.push([`state.${name}`, describe(schema)])
  for (const [name, { fields = {}, ...crdt }] of sorted(contract.schemas.crdts)) {
    add(`crdts.${name}`, crdt)
    add(`crdts.${name}.fields`, fields)
  }
  return outline
}

/** Describes the first place where two contracts differ; undefined if they are equal. */
export function firstDifference (server: ContractOutline, worker: ContractOutline): string | undefined {
  const theirs = new Map(worker)
  for (const [place, what] of server) {
    const own = theirs.get(place)
    if (own !== what) return own === undefined ? `${place} is missing in the worker script` : `${place} differs in the worker script`
    theirs.delete(place)
  }
  const [more] = theirs.keys()
  return more === undefined ? undefined : `${more} is only in the worker script`
}

function describe (schema: Schema): string {
  if (isUnchecked(schema)) return 'unchecked'
  const { vendor = 'json-schema' } = standardOf(schema) ?? {}
  return `${vendor} ${JSON.stringify([jsonSchemaOf(schema, 'input'), jsonSchemaOf(schema, 'output')])}`
}

function sorted<T> (section: Readonly<Record<string, T>>): Array<[string, T]> {
  return Object.entries(section).sort(([a], [b]) => a < b ? -1 : 1)
}
