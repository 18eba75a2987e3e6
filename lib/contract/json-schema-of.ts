import type { StandardJSONSchemaV1 } from '@standard-schema/spec'
import { localized } from './json-schema.js'
import type { Schema } from './schema.js'

/** The described side of a schema: its input, or its output. */
export type Side = 'input' | 'output'

type Converter = Partial<StandardJSONSchemaV1.Props>

/**
 * The JSON Schema (draft-07) of a schema, for readers, without the parts that JSON Schema cannot express. Undefined if
 * nothing is left.
 */
export function jsonSchemaOf (schema: Schema | undefined, side: Side): object | undefined {
  if (schema === undefined) return undefined
  const standard = (schema as { '~standard'?: Converter })['~standard']
  if (standard === undefined) return JSON.parse(JSON.stringify(localized(schema))) as object
  try {
    const { $schema, ...json } = standard.jsonSchema?.[side]({ target: 'draft-07' }) ?? {}
    return Object.keys(json).length === 0 ? undefined : json
  } catch {
    return undefined // a transform or a type that JSON Schema does not have
  }
}
