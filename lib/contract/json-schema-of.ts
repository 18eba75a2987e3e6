import type { StandardJSONSchemaV1 } from '@standard-schema/spec'
import { localized } from './json-schema.js'
import type { Schema } from './schema.js'

/** The side of a schema to describe. */
export type Side = 'input' | 'output'

type Converter = Partial<StandardJSONSchemaV1.Props>

/**
 * Converts a schema to JSON Schema (draft-07), for documentation. It omits the parts that JSON Schema cannot express,
 * and returns undefined if nothing is left.
 */
export function jsonSchemaOf (schema: Schema | undefined, side: Side): object | undefined {
  if (schema === undefined) return undefined
  const standard = (schema as { '~standard'?: Converter })['~standard']
  if (standard === undefined) return JSON.parse(JSON.stringify(localized(schema))) as object
  try {
    const { $schema, ...json } = standard.jsonSchema?.[side]({ target: 'draft-07' }) ?? {}
    return Object.keys(json).length === 0 ? undefined : json
  } catch {
    return undefined // a transform or a type that JSON Schema cannot express
  }
}
