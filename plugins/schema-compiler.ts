import ajvCompiler from '@fastify/ajv-compiler'
import type { FastifyInstance } from 'fastify'
import type { SchemaCompiler } from '../lib/server/hooks.js'

/** What is sent is what is checked: nothing is coerced, filled in or removed. */
const STRICT = { customOptions: { coerceTypes: false, useDefaults: false, removeAdditional: false, allErrors: false } } as const

type Validate = ((data: unknown) => unknown) & { errors?: object[] | null }

/**
 * Compiles schemas of RPC methods: by the validator compiler that the application has set on the
 * instance, else by Fastify's own with the instance's shared schemas.
 */
export function schemaCompiler (app: FastifyInstance): SchemaCompiler {
  return (schema) => {
    const compile = app.validatorCompiler ?? ajvCompiler()(app.getSchemas() as never, STRICT as never)
    const validate = compile({ schema, method: 'GET', url: '', httpPart: 'body' } as never) as Validate
    return (data) => {
      const result = validate(data)
      if (result === true || (typeof result === 'object' && result !== null && !('error' in result && result.error !== undefined))) return null
      if (result === false) return validate.errors ?? []
      const { error } = result as { error: unknown }
      return Array.isArray(error) ? error : [{ message: (error as Error).message }]
    }
  }
}
