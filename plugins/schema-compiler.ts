import ajvCompiler from '@fastify/ajv-compiler'
import type { FastifyInstance } from 'fastify'
import type { SchemaCompiler } from '../lib/server/scope/scope.js'

/** Values are checked as they are: nothing is coerced, filled in or removed. */
const STRICT = { customOptions: { coerceTypes: false, useDefaults: false, removeAdditional: false, allErrors: false } } as const

type Compile = (route: never) => (data: unknown) => unknown
type Validate = ((data: unknown) => unknown) & { errors?: object[] | null }

/** Validator compilers that applications have set, by scope. */
const chosen = new WeakMap<object, Compile>()

/**
 * Notes which validator compilers the application sets on `app` and below it, before or after this.
 * `app.validatorCompiler` alone does not tell: once a route has a schema, Fastify's own default is
 * there, which coerces.
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
 * Compiles schemas of RPC methods: by the validator compiler that the application has set on the
 * instance, else by Fastify's own with the instance's shared schemas.
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

/** The module in which worker threads find `workerCompiler`: see `packageFile`. */
export const WORKER_SCHEMAS = 'plugins/schema-compiler.js'

/** Compiles schemas in a worker thread: as Fastify's own, without schemas that an instance shares. */
export function workerCompiler (): SchemaCompiler {
  const compile = ajvCompiler()({}, STRICT as never)
  return (schema) => checkOf(compile({ schema, method: 'GET', url: '', httpPart: 'body' } as never) as Validate)
}

/** Scopes inherit from the ones around them. */
function chosenFor (app: FastifyInstance): Compile | undefined {
  for (let scope: object | null = app; scope !== null; scope = Object.getPrototypeOf(scope) as object | null) {
    const compile = chosen.get(scope)
    if (compile !== undefined) return compile
  }
  return undefined
}
