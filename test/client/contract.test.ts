import t from 'tap'
import { type DatasoleError, RpcError } from '../../lib/client/client.js'
import { contract } from '../contract/contract.js'
import { entrances } from '../helpers/entrances.js'
import { watch } from './dialled.js'

const [, start] = entrances[0]!

t.test('contract: tryRpc resolves to how a call has ended, with declared errors', async (t) => {
  const { ds, url } = await start(t, { contract, rateLimit: false })
  ds.rpc.register('add', (params, ctx) => {
    const { a, b } = params as { a: number, b: number }
    if (a + b > 10) throw ctx.error('OVERFLOW', { max: 10 })
    return a + b
  })
  const { client } = watch(t, { url })
  await client.connect()
  t.strictSame(await client.tryRpc('add', { a: 1, b: 2 }), { ok: true, result: 3 })
  const full = await client.tryRpc('add', { a: 9, b: 9 })
  t.ok(!full.ok && full.error instanceof RpcError && full.error.is('OVERFLOW') && !full.error.is('OTHER'))
  t.same(!full.ok && full.error.is('OVERFLOW') && full.error.data.details, { max: 10 })
  const wrong = await client.tryRpc('add', { a: 1 } as never)
  t.match(wrong, { ok: false, error: { code: -32602, data: { issues: [{ path: '/b' }] } } })
  t.notOk(!wrong.ok && wrong.error.is('INVALID_PARAMS'), 'no error that the contract declares')
  await client.disconnect()
  await t.rejects(client.tryRpc('add', { a: 1, b: 2 }), { code: 'NOT_CONNECTED' }, 'what is no answer rejects')
})

t.test('contract: a client whose version is not accepted is told, and gives up', async (t) => {
  const { url } = await start(t, { contract })
  const mismatches: DatasoleError[] = []
  const { client, states } = watch(t, { url: `${url}?k=1`, contractVersion: 5, onContractMismatch: (error) => { mismatches.push(error) } })
  await client.connect().catch(() => {}) // it may have been welcome for a moment
  const ended = new Promise<void>((resolve) => { client.onConnectionState((state) => { if (state === 'disconnected') resolve() }) })
  if (states.at(-1) !== 'disconnected') await ended
  t.equal(mismatches.length, 1)
  t.match(mismatches[0], { name: 'DatasoleError', code: 'CONTRACT_MISMATCH', message: /version 5 is not accepted: >=6/ })
  t.notOk(states.includes('reconnecting'))

  const { client: current } = watch(t, { url, contractVersion: 7 })
  await current.connect()
  await current.disconnect()
})

t.test('contract: options of the client are checked', async (t) => {
  for (const options of [{ contractVersion: 1.5 }, { contractVersion: -1 }, { contractVersion: '7' }, { onContractMismatch: 5 }]) {
    t.throws(() => watch(t, { url: 'http://127.0.0.1:1', ...options as object }), { code: 'INVALID_OPTION', message: new RegExp(Object.keys(options)[0]!) })
  }
})
