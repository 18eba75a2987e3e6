import ajvCompiler from '@fastify/ajv-compiler'
import type { FastifyInstance } from 'fastify'
import type { SchemaCompiler } from '../lib/server/scope/scope.js'

/** Ajv options that check values without changing them. */
const STRICT = { customOptions: { coerceTypes: false, useDefaults: false, removeAdditional: false, allErrors: false } } as const

type Compile = (route: never) => (data: unknown) => unknown
type Validate = ((data: unknown) => unknown) & { errors?: object[] | null }

/** Validator compilers that applications have set, by scope. */
const chosen = new WeakMap<object, Compile>()

/**
 * Records the validator compilers that the application sets on `app` and its child instances, before or after this call.
 * `app.validatorCompiler` is not enough: once a route has a schema, it is Fastify's default, which coerces values.
 */
export function watchCompilers (app: FastifyInstance): void {
  if (app.validatorCompiler !== undefined) chosen.set(app, app.validatorCompiler as Compile)
  const { setValidatorCompiler } = app
  app.setValidatorCompiler = function (this: FastifyInstance, compile) {
    chosen.set(this, compile as Compile)
    return setValidatorCompiler.call(this, compile as never)
  } as typeof setValidatorCompiler
}

/**
 * Returns a compiler for schemas of RPC methods: the application's validator compiler, if it has set one on the instance,
 * or else Fastify's own, with the instance's shared schemas.
 */
export function schemaCompiler (app: FastifyInstance): SchemaCompiler {
  return (schema) => {
    const compile = chosenFor(app) ?? ajvCompiler()(app.getSchemas() as never, STRICT as never)
    return checkOf(compile({ schema, method: 'GET', url: '', httpPart: 'body' } as never) as Validate)
  }
}

function checkOf (validate: Validate): (data: unknown) => object[] | null {
  return (data) => {
    const result = validate(data)
    if (result === true || (typeof result === 'object' && result !== null && !('error' in result && result.error !== undefined))) return null
    if (result === false) return validate.errors ?? []
    const { error } = result as { error: unknown }
    return Array.isArray(error) ? error : [{ message: (error as Error).message }]
  }
}

/** Path of the module with `workerCompiler`, for worker threads: see `packageFile`. */
export const WORKER_SCHEMAS = 'plugins/schema-compiler.js'

/** Returns a compiler for worker threads: Fastify's own, without the shared schemas of an instance. */
export function workerCompiler (): SchemaCompiler {
  const compile = ajvCompiler()({}, STRICT as never)
  return (schema) => checkOf(compile({ schema, method: 'GET', url: '', httpPart: 'body' } as never) as Validate)
}

/** Finds the compiler that was set on an instance or on one of its parents. */
function chosenFor (app: FastifyInstance): Compile | undefined {
  for (let scope: object | null = app; scope !== null; scope = Object.getPrototypeOf(scope) as object | null) {
    const compile = chosen.get(scope)
    if (compile !== undefined) return compile
  }
  return undefined
}
