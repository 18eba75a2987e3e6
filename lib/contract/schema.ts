import type { StandardSchemaV1 } from '@standard-schema/spec'

const UNCHECKED = Symbol.for('datasole.unchecked')

/** A JSON Schema (draft-07), as Fastify accepts it. `T` is the type that it describes. */
export type JsonSchema<T = unknown> = object & { readonly '~type'?: readonly [T] }

/**
 * A Standard Schema (zod, valibot, arktype), a TypeBox schema, or plain JSON Schema. The libraries infer the types; use
 * `jsonSchema` to add a type to plain JSON Schema.
 */
export type Schema = object

/** Declares a type without a check: `state: { big: type<Board>() }`. */
export function type<T> (): JsonSchema<T> {
  return { [UNCHECKED]: true } as JsonSchema<T>
}

/** Adds a type to a plain JSON Schema. @param schema JSON Schema (draft-07) @returns the same object */
export function jsonSchema<T> (schema: object): JsonSchema<T> {
  return schema
}

export function isUnchecked (schema: Schema): boolean {
  return UNCHECKED in schema
}

/** The Standard Schema interface (https://standardschema.dev) of a value, or undefined. */
export function standardOf (schema: unknown): StandardSchemaV1.Props | undefined {
  return (schema as { '~standard'?: StandardSchemaV1.Props } | null | undefined)?.['~standard']
}

/** Whether a value can be a schema: an object, or a function that is a Standard Schema (arktype uses functions). */
export function isSchema (value: unknown): value is Schema {
  if (typeof value === 'function' || standardOf(value) !== undefined) return typeof standardOf(value)?.validate === 'function'
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
