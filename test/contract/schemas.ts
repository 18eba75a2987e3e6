import { Type } from '@sinclair/typebox'
import { type } from 'arktype'
import * as v from 'valibot'
import { z } from 'zod'
import { jsonSchema } from '../../lib/contract/schema.js'

interface Login { name: string, tries: number, tags?: string[] }

/** One shape, written with each library: a name of 1 to 10 characters, and a whole number of tries. */
export const logins = {
  zod: z.object({ name: z.string().min(1).max(10), tries: z.number().int(), tags: z.array(z.string()).optional() }),
  valibot: v.object({ name: v.pipe(v.string(), v.minLength(1), v.maxLength(10)), tries: v.pipe(v.number(), v.integer()), tags: v.optional(v.array(v.string())) }),
  arktype: type({ name: '1 <= string <= 10', tries: 'number.integer', 'tags?': 'string[]' }),
  typebox: Type.Object({ name: Type.String({ minLength: 1, maxLength: 10 }), tries: Type.Integer(), tags: Type.Optional(Type.Array(Type.String())) }),
  'json schema': jsonSchema<Login>({
    type: 'object',
    required: ['name', 'tries'],
    properties: { name: { type: 'string', minLength: 1, maxLength: 10 }, tries: { type: 'integer' }, tags: { type: 'array', items: { type: 'string' } } }
  })
}
