import type { StandardSchemaV1 } from '@standard-schema/spec'
import { DatasoleError, isThenable, notSynchronous } from '../protocol/errors.js'
import { type Issue, issuesOf, issuesOfErrors } from './issues.js'
import { compilable } from './json-schema.js'
import { type Schema, isUnchecked, standardOf } from './schema.js'

export type { Issue }

/**
 * The outcome of a check. Undefined: the value passes unchanged. `value`: the schema's output replaces the value.
 * `issues`: the value is refused. `errors`: the unchanged errors of the JSON Schema compiler.
 */
export type Verdict = undefined | { readonly value: unknown, readonly issues?: undefined } | { readonly issues: readonly Issue[], readonly errors?: readonly object[] }
export type Check = (value: unknown) => Verdict | Promise<Verdict>
export type SyncCheck = (value: unknown) => Verdict

/** Compiles a JSON Schema; undefined if there is no compiler. */
export type Compile = (where: string, schema: object) => ((data: unknown) => object[] | null) | undefined

/** Timeout of an asynchronous schema in ms. */
const VALIDATION_TIMEOUT = 5000

/**
 * Makes the check of a schema. A Standard Schema runs its own `validate`, because a JSON Schema converted from it would
 * lose refinements and other rules that JSON Schema cannot express.
 * @param where the place in the contract, for error messages
 * @returns undefined if the schema checks nothing
 */
export function checkOf (schema: Schema, where: string, compile: Compile): Check | undefined {
  if (isUnchecked(schema)) return undefined
  const standard = standardOf(schema)
  if (standard === undefined) return jsonCheckOf(schema, where, compile)
  return (value) => {
    const result = standard.validate(value)
    return isThenable(result) ? Promise.resolve(result).then((settled) => verdictOf(settled, value)) : verdictOf(result, value)
  }
}

/** Like `checkOf`, for callers that cannot wait. The check throws if the schema answers asynchronously. */
export function syncCheckOf (schema: Schema, where: string, compile: Compile): SyncCheck | undefined {
  const check = checkOf(schema, where, compile)
  return check && ((value) => {
    const verdict = check(value)
    if (isThenable(verdict)) throw notSynchronous(where, 'its result synchronously', verdict)
    return verdict
  })
}

function jsonCheckOf (schema: object, where: string, compile: Compile): SyncCheck | undefined {
  const validate = compile(where, compilable(schema))
  return validate && ((value) => {
    const errors = validate(value)
    return errors === null ? undefined : { issues: issuesOfErrors(errors), errors }
  })
}

function verdictOf (result: StandardSchemaV1.Result<unknown>, value: unknown): Verdict {
  if (result.issues !== undefined) return { issues: issuesOf(result.issues, value) }
  return result.value === value ? undefined : result
}

/**
 * Waits for an asynchronous check, up to a timeout.
 * @throws DatasoleError `SCHEMA_TIMEOUT`
 */
export function inTime (verdict: Promise<Verdict>, what: string): Promise<Verdict> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => { reject(new DatasoleError('SCHEMA_TIMEOUT', `${what} did not answer within ${VALIDATION_TIMEOUT} ms`)) }, VALIDATION_TIMEOUT)
    timer.unref()
    verdict.then(resolve, reject).finally(() => { clearTimeout(timer) })
  })
}
