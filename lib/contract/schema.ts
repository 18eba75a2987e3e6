import type { StandardSchemaV1 } from '@standard-schema/spec'

const UNCHECKED = Symbol.for('datasole.unchecked')

/** A JSON Schema (draft-07), as Fastify takes it; `T` is the type that it describes. */
export type JsonSchema<T = unknown> = object & { readonly '~type'?: readonly [T] }

/**
 * A schema of any library: a Standard Schema (zod, valibot, arktype), TypeBox, or plain JSON Schema. The library infers
 * its types; for plain JSON Schema, `jsonSchema` gives them.
 */
export type Schema = object

/** A typed place of a contract without a check: `state: { big: type<Board>() }`. */
export function type<T> (): JsonSchema<T> {
  return { [UNCHECKED]: true } as JsonSchema<T>
}

/** Gives a plain JSON Schema a type. @param schema JSON Schema (draft-07) @returns the same object */
export function jsonSchema<T> (schema: object): JsonSchema<T> {
  return schema
}

export function isUnchecked (schema: Schema): boolean {
  return UNCHECKED in schema
}

/** The Standard Schema (https://standardschema.dev) of a value; undefined if it is none. */
export function standardOf (schema: unknown): StandardSchemaV1.Props | undefined {
  return (schema as { '~standard'?: StandardSchemaV1.Props } | null | undefined)?.['~standard']
}

/** Whether it can be a schema: an object, or a function that is a Standard Schema (arktype makes those). */
export function isSchema (value: unknown): value is Schema {
  if (typeof value === 'function' || standardOf(value) !== undefined) return typeof standardOf(value)?.validate === 'function'
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
