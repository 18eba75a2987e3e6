import { DatasoleError } from '../protocol/errors.js'
import { Contract, type MethodSchemas } from './define-contract.js'
import { type ContractOutline, firstDifference, outlineOf } from './difference.js'
import { type Schema, isUnchecked, standardOf } from './schema.js'

/** A contract in the form that is sent to a thread. */
export interface WorkerContract {
  readonly outline: ContractOutline
  /** The methods' schemas as JSON; null for a method whose schemas cannot be sent. */
  readonly methods: Readonly<Record<string, MethodSchemas | null>>
}

/** The part of a contract that can be sent to a thread: JSON Schemas, but not Standard Schemas, which contain functions. */
export function workerContractOf (contract: Contract): WorkerContract {
  const methods = Object.entries(contract.schemas.rpc).map(([name, { params, result, errors }]) => {
    const all = [params, result, ...Object.values(errors ?? {})].filter((schema) => schema !== undefined)
    return [name, all.some((schema) => standardOf(schema) !== undefined) ? null : { params: plain(params), result: plain(result), errors: errors && Object.fromEntries(Object.entries(errors).map(([code, schema]) => [code, plain(schema)!])) }]
  })
  return { outline: outlineOf(contract), methods: Object.fromEntries(methods) }
}

/**
 * The schemas of a worker script's methods: from the contract that the script exports, or else from the server's
 * contract.
 * @param server the server's contract, if it has one
 * @param own the script's export `contract`
 * @throws DatasoleError `CONTRACT_MISMATCH` if the two differ; the message names the first difference
 */
export function methodSchemas (server: WorkerContract | undefined, own: unknown): (name: string) => MethodSchemas | undefined {
  if (!Contract.isContract(own)) return (name) => crossed(server, name)
  const difference = server === undefined ? 'the server has none: pass the option contract' : firstDifference(server.outline, outlineOf(own))
  if (difference !== undefined) throw new DatasoleError('CONTRACT_MISMATCH', `the worker script and the server have different contracts: ${difference}`)
  const { rpc } = own.schemas
  return (name) => Object.hasOwn(rpc, name) ? rpc[name] : undefined
}

function crossed (server: WorkerContract | undefined, name: string): MethodSchemas | undefined {
  if (server === undefined || !Object.hasOwn(server.methods, name)) return undefined
  const schemas = server.methods[name]
  if (schemas === null) throw new DatasoleError('CONTRACT_MISSING', `rpc.register("${name}"): a library checks this method, and its schemas cannot be sent to a thread. Export the contract from the worker script: export { contract } from './contract.js'`)
  return schemas
}

function plain (schema: Schema | undefined): Schema | undefined {
  if (schema === undefined) return undefined
  return isUnchecked(schema) ? {} : JSON.parse(JSON.stringify(schema)) as Schema
}
