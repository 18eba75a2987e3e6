import { Bench } from 'tinybench'
import { z } from 'zod'
import { defineContract } from '../lib/contract/exports.js'
import { encodeFrame } from '../lib/protocol/frame.js'
import { Opcode } from '../lib/protocol/opcodes.js'
import { connect, fakeServer, nextTurn } from './fake-server.js'

const json = { params: { type: 'object', required: ['text', 'n'], properties: { text: { type: 'string' }, n: { type: 'number' } } }, result: { type: 'object', required: ['text'], properties: { text: { type: 'string' } } } }
const shape = z.object({ text: z.string(), n: z.number() })
const call = (method: string): Buffer => Buffer.from(encodeFrame(Opcode.RPC_REQ, 7, Buffer.from(JSON.stringify({ method, params: { text: 'hello', n: 1 }, correlationId: 7 }))))

/** The cost of an RPC without a check, with the option `schema` of `rpc.register`, and with a contract. */
export async function schemas (): Promise<Bench> {
  const bench = new Bench({ time: 600, warmupTime: 200 })
  const contract = defineContract({
    rpc: { json, zod: { params: shape, result: shape } },
    state: { json: { type: 'object', additionalProperties: { type: 'object', required: ['value'], properties: { value: { type: 'number' } } } }, zod: z.record(z.string(), z.object({ value: z.number() })) }
  })
  const { core, ds } = fakeServer({ contract })
  ds.rpc.register('none', (params) => params)
  ds.rpc.register('option', { schema: json }, (params) => params)
  ds.rpc.register('json', (params) => params)
  ds.rpc.register('zod', (params) => params)
  const caller = await connect(core)
  for (const [method, title] of [['none', 'unchecked'], ['option', 'by the option schema'], ['json', 'by a contract, JSON Schema'], ['zod', 'by a contract, zod']] as const) {
    const frame = call(method)
    bench.add(`dispatch an RPC, ${title} (each)`, async () => {
      for (let i = 0; i < 100; i++) caller.emit('message', frame, true)
      await nextTurn()
    })
  }
  for (const key of ['unchecked', 'json', 'zod']) {
    await ds.primitives.live.setState(key, Object.fromEntries(Array.from({ length: 1000 }, (_, i) => [`r${i}`, { value: i }])))
    let n = 0
    bench.add(`update one field of 1,000 records, ${key}`, async () => {
      await ds.primitives.live.update(key, (draft) => { (draft as Record<string, { value: number }>).r500!.value = ++n })
    })
  }
  await bench.run()
  return bench
}
