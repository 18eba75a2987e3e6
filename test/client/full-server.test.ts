import t from 'tap'
import { Opcode } from '../../lib/protocol/opcodes.js'
import { entrances } from '../helpers/entrances.js'
import { until } from '../helpers/until.js'
import { dial, watch } from './dialled.js'
import type { Peer } from './peer.js'

const { RPC_REQ, RPC_RES } = Opcode

function refuse (peer: Peer, { id }: { id: number }, retryAfter = 20): void {
  peer.send(RPC_RES, id, { correlationId: id, error: { code: -32030, message: 'too many calls in flight', data: { code: 'BUSY', retryAfter } }, begun: false, again: true })
}

t.test('full server: a call that the server has no place for is sent again, once there may be one', async (t) => {
  const { client, peer, errors } = await dial(t, {}, { maxCallsInFlight: 3 })
  const calls = ['a', 'b', 'c', 'd'].map((name) => client.rpc(name))
  const [a, b, c] = [await peer.next(RPC_REQ), await peer.next(RPC_REQ), await peer.next(RPC_REQ)]
  refuse(peer, b)
  refuse(peer, c)
  peer.result(a, 'a')
  const next = await peer.next(RPC_REQ)
  t.equal(next.payload.method, 'b', 'an answer makes a place, for the one that has waited longest')
  t.strictSame(peer.received, [], 'and for no other')
  t.equal(next.id, b.id)
  for (let i = 0; i < 20; i++) refuse(peer, i === 0 ? next : await peer.next(RPC_REQ)) // more often than a server may close
  for (let i = 0; i < 3; i++) {
    const call = await peer.next(RPC_REQ)
    peer.result(call, call.payload.method)
  }
  t.strictSame(await Promise.all(calls), ['a', 'b', 'c', 'd'])
  t.strictSame(errors, [])
})

t.test('full server: its time runs meanwhile, and the next connection takes it', async (t) => {
  const { client, peer, server } = await dial(t, {}, { maxCallsInFlight: 2 })
  const late = t.rejects(client.rpc('late', undefined, { timeoutMs: 500 }), { code: -32001, data: { code: 'TIMEOUT' } })
  const early = client.rpc('early')
  const sent = [await peer.next(RPC_REQ), await peer.next(RPC_REQ)]
  for (const call of sent) refuse(peer, call, 60_000)
  await late
  peer.socket.terminate()
  const again = (await server.accept()).welcome()
  const call = await again.next(RPC_REQ)
  t.strictSame([call.payload.method, call.id], ['early', sent[1]!.id])
  again.result(call, 1)
  t.equal(await early, 1)
})

for (const [entrance, start] of entrances) {
  t.test(`${entrance}: calls wait for handlers of calls that were given up`, async (t) => {
    const { ds, url } = await start(t, { maxCallsInFlight: 3, rateLimit: false })
    const ends: Array<() => void> = []
    const runs: unknown[] = []
    ds.rpc.register('deaf', async () => { await new Promise<void>((resolve) => { ends.push(resolve) }) })
    ds.rpc.register('quick', (params) => { runs.push(params); return params })
    const { client } = watch(t, { url })
    await client.connect()
    for (let i = 0; i < 3; i++) await t.rejects(client.rpc('deaf', undefined, { timeoutMs: 30 }), { code: -32001 })
    const calls = Array.from({ length: 10 }, async (_, i) => await client.rpc('quick', i))
    await until(() => ds.metrics.snapshot().rpcErrors >= 8)
    t.strictSame(runs, [])
    for (const end of ends) end()
    t.strictSame(await Promise.all(calls), Array.from({ length: 10 }, (_, i) => i))
    t.strictSame(runs.toSorted(), Array.from({ length: 10 }, (_, i) => i), 'each ran once')
  })
}
