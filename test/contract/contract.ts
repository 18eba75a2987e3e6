import { z } from 'zod'
import { defineContract, jsonSchema, type } from '../../lib/contract/exports.js'

/** A contract with every kind of schema: of the tests' servers, threads and clients. */
export const contract = defineContract({
  rpc: {
    add: { params: z.object({ a: z.number(), b: z.number() }), result: z.number(), errors: { OVERFLOW: z.object({ max: z.number() }) } },
    trim: { params: z.object({ text: z.string().trim() }), result: z.object({ text: z.string() }) },
    wrong: { result: z.object({ secret: z.number() }) },
    plain: { params: jsonSchema<{ n: number }>({ type: 'object', required: ['n'], properties: { n: { type: 'number' } } }), result: jsonSchema<number>({ type: 'number' }) },
    slow: { params: z.string().refine(async (text) => { await new Promise((resolve) => setTimeout(resolve, 1)); return text === 'free' }) },
    never: { params: z.string().refine(() => new Promise<boolean>(() => {})) }
  },
  events: {
    chat: { toServer: z.object({ text: z.string().max(5) }), toClient: z.object({ text: z.string(), by: z.string() }) },
    tick: z.number(),
    toServerOnly: { toServer: z.string() },
    toClientOnly: { toClient: z.string() }
  },
  state: {
    dashboard: jsonSchema<{ visitors: number, list?: string[] }>({ type: 'object', required: ['visitors'], additionalProperties: false, properties: { visitors: { type: 'integer', minimum: 0 }, list: { type: 'array', items: { type: 'string' } } } }),
    'room:{id}': z.object({ title: z.string().max(5), open: z.boolean().optional() }),
    people: z.record(z.string(), z.object({ name: z.string() })),
    free: type<{ anything: unknown }>()
  },
  crdts: {
    likes: 'pn-counter',
    title: { type: 'lww-register', value: z.string().max(5) },
    'card:{id}': { type: 'lww-map', fields: { name: z.string(), votes: z.number() } },
    labels: { type: 'lww-map', values: z.string() }
  },
  version: 7,
  accepts: '>=6'
})
