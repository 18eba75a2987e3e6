import { Bench } from 'tinybench'
import { decodeFrame, encodeFrame } from '../lib/protocol/frame.js'
import { Opcode } from '../lib/protocol/opcodes.js'
import { deepFreeze } from '../lib/protocol/frozen.js'
import { encodeMessage } from '../lib/server/connection/encoding.js'
import { connect, fakeServer, nextTurn } from './fake-server.js'
import { type BenchRecord, members, records } from './records.js'

/** What the parts of the hot path cost, without a network. */
export async function micro (): Promise<Bench> {
  const bench = new Bench({ time: 400, warmupTime: 200 })
  frames(bench)
  await rpc(bench)
  for (const count of [1000, 100_000]) {
    await commits(bench, count, 'an array', { records: records(count) }, (draft) => draft.records[500]!)
    await commits(bench, count, 'an object', { records: members(count) }, (draft) => draft.records['r500']!)
  }
  await replacements(bench)
  await fanout(bench)
  await bench.run()
  return bench
}

const JSON_OF_CALL = JSON.stringify({ method: 'echo', params: { text: 'hello', n: 1 }, correlationId: 7 })
const CALL = Buffer.from(encodeFrame(Opcode.RPC_REQ, 7, Buffer.from(JSON_OF_CALL)))

function frames (bench: Bench): void {
  bench.add('encode a frame of 69 bytes', () => { encodeMessage(Opcode.RPC_RES, 7, JSON_OF_CALL, 1024) })
  bench.add('decode it, JSON included', () => { JSON.parse(Buffer.from(decodeFrame(CALL).payload).toString()) })
}

async function rpc (bench: Bench): Promise<void> {
  const { core, ds } = fakeServer()
  ds.rpc.register('echo', (params) => params)
  const caller = await connect(core)
  bench.add('dispatch an RPC, 100 in a tick (each)', async () => {
    for (let i = 0; i < 100; i++) caller.emit('message', CALL, true)
    await nextTurn()
  })
}

/** One field of one record. */
async function commits<T extends object> (bench: Bench, count: number, shape: string, value: T, pick: (value: T) => BenchRecord): Promise<void> {
  const { ds } = fakeServer()
  await ds.primitives.live.setState('state', value)
  const where = `one field in ${shape} of ${count.toLocaleString('en')}`
  let n = 0
  bench.add(`update: ${where}`, async () => {
    await ds.primitives.live.update('state', (draft) => { pick(draft as T).value = ++n })
  })
  if (count > 1000) return
  bench.add(`setState: ${where}`, async () => {
    pick(value).value = --n
    await ds.primitives.live.setState('state', value)
  })
}

/** `setState` of two values in turn, which were made before. */
async function replacements (bench: Bench): Promise<void> {
  const list = records(1000)
  const edited = list.map((record, i) => i === 10 || i === 900 ? { ...record, value: 1 } : record)
  const copies = (list: BenchRecord[]): BenchRecord[] => list.map((record) => ({ ...record }))
  const next = { ...list[0]!, id: 1000, name: 'record number 1000' }
  const shifted = [...list.slice(1), next]
  const anonymous = (list: BenchRecord[]): object[] => list.map(({ name, email, value, active }) => ({ name, email, value, active }))
  const many = records(10_000)
  const reordered = [many[9000]!, ...many.slice(0, 9000), ...many.slice(9001)]
  const frozen = deepFreeze(copies(list))
  const values: Record<string, [object[], object[]]> = {
    'two fields of 1,000 records, the rest frozen and shared': [frozen, deepFreeze(edited.map((record, i) => record === list[i] ? frozen[i]! : { ...record }))],
    'two fields of 1,000 records, the rest shared': [list, edited],
    'two fields of 1,000 records, all copied': [list, copies(edited)],
    'two fields of 1,000 records without id, all copied': [anonymous(list), anonymous(edited)],
    'a list of 1,000 moves on by one, all copied': [list, copies(shifted)],
    'a list of 1,000 without id moves on by one, all copied': [anonymous(list), anonymous(shifted)],
    'one of 1,000 is inserted in the middle, all copied': [list, copies(list.toSpliced(500, 0, next))],
    'one of 10,000 is moved, all copied': [many, copies(reordered)]
  }
  for (const [name, [a, b]] of Object.entries(values)) {
    const { ds } = fakeServer()
    await ds.primitives.live.setState('state', { records: a })
    const turns = [{ records: b }, { records: a }].map((value) => Object.isFrozen(a) ? deepFreeze(value) : value)
    let n = 0
    bench.add(`setState: ${name}`, async () => { await ds.primitives.live.setState('state', turns[n++ % 2]!) })
  }
}

async function fanout (bench: Bench): Promise<void> {
  const { core, ds } = fakeServer()
  for (let i = 0; i < 1000; i++) await connect(core)
  bench.add('fan-out of an event to 1,000 connections', async () => {
    ds.primitives.fanout.broadcast('tick', 'x'.repeat(48))
    for (let i = 0; i < 9; i++) await nextTurn()
  })
}
