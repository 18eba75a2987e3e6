import { fileURLToPath } from 'node:url'
import t from 'tap'
import { Opcode } from '../../lib/protocol/opcodes.js'
import { DatasoleServer } from '../../plugins/server.js'
import { capturedLogger, entrances } from '../helpers/entrances.js'
import { until } from '../helpers/until.js'
import { contract } from './contract.js'

const pool = (script: string): object => ({ model: 'thread-pool', poolSize: 1, workerScript: fileURLToPath(new URL(script, import.meta.url)) })

for (const [entrance, start] of entrances) {
  t.test(`${entrance}: methods in threads are checked by the contract that the script exports`, async (t) => {
    const { ds, connect } = await start(t, { contract, rateLimit: false, executor: pool('worker-script.js') })
    const wire = await connect()
    t.equal((await wire.call('add', { a: 2, b: 2 })).result, 4)
    t.match((await wire.call('add', { a: 2, b: 's3cret' })).error, { code: -32602, data: { issues: [{ path: '/b' }] } })
    t.match((await wire.call('add', { a: 6, b: 6 })).error, { code: -32000, data: { code: 'OVERFLOW', details: { max: 10 } } })
    t.match((await wire.call('add', { a: 1, b: 1 })).error, { code: -32603 }, 'its result is no number')
    t.equal((await wire.call('plain', { n: 3 })).result, 3)
    t.same(await ds.primitives.live.getState('dashboard'), { visitors: 3 })
    t.match((await wire.call('plain', { n: -3 })).error, { code: -32603 }, 'a write of a thread is checked, too')
    t.match((await wire.call('trim', { text: ' x ' })).error, { code: -32603 }, 'and what it broadcasts')
    t.match((await wire.ask(Opcode.EVENT_C2S, { event: 'chat', data: { text: 'too long' } })).payload, { code: 'INVALID_VALUE' })
    wire.send(Opcode.EVENT_C2S, 0, { event: 'chat', data: { text: 'short', more: 1 } })
    t.same(await until(() => ds.primitives.state.getState('heard')), { text: 'short' })
  })
}

t.test('worker: JSON Schemas cross by themselves', async (t) => {
  const [, start] = entrances[1]!
  const { connect } = await start(t, { contract, rateLimit: false, executor: pool('plain-worker-script.js') })
  const wire = await connect()
  t.match((await wire.call('plain', { n: 'x' })).error, { code: -32602 })
  t.match((await wire.call('plain', { n: 1 })).error, { code: -32603 }, 'the result is no number')
})

for (const [script, code, message] of [
  ['missing-worker-script.js', 'CONTRACT_MISSING', /rpc\.register\("add"\).*export \{ contract \}/],
  ['other-worker-script.js', 'CONTRACT_MISMATCH', /rpc\.add\.params differs/]
] as const) {
  t.test(`worker: ${script} fails the start with ${code}`, async (t) => {
    const ds = new DatasoleServer({ contract, executor: pool(script), logger: capturedLogger([]) })
    t.teardown(() => ds.close())
    await t.rejects(ds.init(), { code, message })
  })
}

t.test('worker: a script that exports a contract needs one of the server', async (t) => {
  const ds = new DatasoleServer({ executor: pool('worker-script.js'), logger: capturedLogger([]) })
  t.teardown(() => ds.close())
  await t.rejects(ds.init(), { code: 'CONTRACT_MISMATCH', message: /the server has none/ })
})
