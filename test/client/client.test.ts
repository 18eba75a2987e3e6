import { getEventListeners } from 'node:events'
import t from 'tap'
import { DatasoleError, RpcError } from '../../lib/client/client.js'
import { Opcode } from '../../lib/protocol/opcodes.js'
import { dial, watch } from './dialled.js'
import { watchWarnings } from '../helpers/warnings.js'
import { listen } from './peer.js'

/** A signal that tells how many listeners it has. */
function counted (): { controller: AbortController, signal: AbortSignal, listeners: () => number } {
  const controller = new AbortController()
  const { signal } = controller
  return { controller, signal, listeners: () => getEventListeners(signal, 'abort').length }
}

t.test('client: a call gets its answer, whatever the order of answers', async (t) => {
  const { client, peer } = await dial(t)
  const answers = [client.rpc('one', { n: 1 }), client.rpc('two'), client.rpc('three', null)]
  const calls = [await peer.next(Opcode.RPC_REQ), await peer.next(Opcode.RPC_REQ), await peer.next(Opcode.RPC_REQ)]
  t.strictSame(calls.map(({ payload }) => payload), [
    { method: 'one', params: { n: 1 }, correlationId: calls[0]!.id },
    { method: 'two', correlationId: calls[1]!.id },
    { method: 'three', params: null, correlationId: calls[2]!.id }
  ])
  t.equal(new Set(calls.map(({ id }) => id)).size, 3)
  for (const call of [...calls].reverse()) peer.result(call, call.payload.method)
  t.strictSame(await Promise.all(answers), ['one', 'two', 'three'])
  peer.result(calls[0]!, 'again') // which nobody waits for
})

t.test('client: what the server refuses is an RpcError', async (t) => {
  const { client, peer } = await dial(t)
  const answer = client.rpc('pay')
  const call = await peer.next(Opcode.RPC_REQ)
  peer.send(Opcode.RPC_RES, call.id, { correlationId: call.id, error: { code: 402, message: 'no money', data: { missing: 5 } } })
  const error = await answer.catch((error: unknown) => error)
  t.ok(error instanceof RpcError)
  t.match(error, { code: 402, message: 'no money', data: { missing: 5 } })
})

t.test('client: a call that gets no answer in time is cancelled', async (t) => {
  const { client, peer } = await dial(t, { rpcTimeoutMs: 20 })
  await t.rejects(client.rpc('slow'), { name: 'RpcError', code: -32001, data: { code: 'TIMEOUT' }, message: /"slow".*20 ms/ })
  const call = await peer.next(Opcode.RPC_REQ)
  const cancel = await peer.next(Opcode.RPC_CANCEL)
  t.equal(cancel.id, call.id)
  t.equal(cancel.payload, null)
  peer.result(call, 'late')
  await t.rejects(client.rpc('slow', undefined, { timeoutMs: 5 }), { message: /5 ms/ })
  for (const timeoutMs of [0, Infinity]) {
    const patient = client.rpc('patient', undefined, { timeoutMs })
    const third = await peer.next(Opcode.RPC_REQ).then((frame) => frame.payload.method === 'slow' ? peer.next(Opcode.RPC_REQ) : frame)
    await new Promise((resolve) => setTimeout(resolve, 30))
    peer.result(third, 'at last')
    t.equal(await patient, 'at last')
  }
  for (const timeoutMs of [-1, NaN]) await t.rejects(client.rpc('x', undefined, { timeoutMs }), { code: 'INVALID_ARGUMENT' })
})

t.test('client: what JSON cannot hold is refused, with a code', async (t) => {
  const { client } = await dial(t)
  t.throws(() => { client.emit('x', 1n) }, { name: 'TypeError', code: 'INVALID_JSON' })
  await t.rejects(client.rpc('x', 1n), { name: 'TypeError', code: 'INVALID_JSON' })
})

t.test('client: what is to be called later has to be a function', async (t) => {
  const { client } = await dial(t)
  const wrong = { name: 'TypeError', code: 'INVALID_ARGUMENT', message: /must be a function/ }
  for (const handler of [undefined, null, 'x']) {
    t.throws(() => { client.on('x', handler as never) }, wrong)
    t.throws(() => { client.subscribeState('x', handler as never) }, wrong)
    t.throws(() => { client.onConnectionState(handler as never) }, wrong)
    t.throws(() => { client.channel('c').subscribe(handler as never) }, wrong)
    t.throws(() => { client.crdt('d', 'lww-register').subscribe(handler as never) }, wrong)
  }
})

t.test('client: a signal cancels a call', async (t) => {
  const { client, peer } = await dial(t)
  const controller = new AbortController()
  const reason = new Error('changed my mind')
  const answer = client.rpc('slow', undefined, { signal: controller.signal })
  const call = await peer.next(Opcode.RPC_REQ)
  controller.abort(reason)
  t.equal(await answer.catch((error: unknown) => error), reason)
  t.equal((await peer.next(Opcode.RPC_CANCEL)).id, call.id)
  t.equal(await client.rpc('never', undefined, { signal: controller.signal }).catch((error: unknown) => error), reason)
  const done = new AbortController()
  const quick = client.rpc('quick', undefined, { signal: done.signal })
  peer.result(await peer.next(Opcode.RPC_REQ), 1)
  await quick
  done.abort() // it is over: nothing to cancel
  client.emit('fence')
  await peer.next(Opcode.EVENT_C2S)
  t.strictSame(peer.received, [])
})

t.test('client: one signal for many calls is no leak, and cancels each', async (t) => {
  const warnings = watchWarnings(t)
  const { client, peer } = await dial(t)
  const { signal, listeners, controller } = counted()
  const calls = Array.from({ length: 30 }, () => client.rpc('slow', undefined, { signal }))
  const first = await peer.next(Opcode.RPC_REQ)
  peer.result(first, 'done')
  t.equal(await calls[0], 'done')
  t.equal(listeners(), 1)
  const quick = new AbortController()
  const aborted = client.rpc('other', undefined, { signal: quick.signal })
  quick.abort(new Error('only this one'))
  await t.rejects(aborted, { message: 'only this one' })
  const reason = new Error('enough')
  controller.abort(reason)
  for (const call of calls.slice(1)) t.equal(await call.catch((error: unknown) => error), reason)
  await new Promise((resolve) => setImmediate(resolve)) // warnings are told a tick later
  t.strictSame(warnings, [])
  t.equal(listeners(), 0)
  // and nothing stays with a signal that is never aborted
  const other = counted()
  const last = client.rpc('last', undefined, { signal: other.signal })
  let call = await peer.next(Opcode.RPC_REQ)
  while (call.payload.method !== 'last') call = await peer.next(Opcode.RPC_REQ)
  peer.result(call, 1)
  await last
  t.equal(other.listeners(), 0)
})

t.test('client: a call in flight at a drop has an unknown outcome', async (t) => {
  const { client, peer, server } = await dial(t)
  const answer = client.rpc('transfer')
  await peer.next(Opcode.RPC_REQ)
  peer.socket.terminate()
  await t.rejects(answer, { name: 'DatasoleError', code: 'OUTCOME_UNKNOWN', message: /may or may not have run/ })
  const waiting = client.rpc('later')
  const again = (await server.accept()).welcome()
  const call = await again.next(Opcode.RPC_REQ)
  t.equal(call.payload.method, 'later', 'and it is not sent again')
  const cut = client.rpc('cut')
  await again.next(Opcode.RPC_REQ)
  await client.disconnect()
  await Promise.all([waiting, cut].map((promise) => t.rejects(promise, { code: 'OUTCOME_UNKNOWN' })))
})

t.test('client: what is asked while there is no connection waits for it, in order', async (t) => {
  const server = await listen(t)
  const { client } = watch(t, { url: server.url })
  await t.rejects(client.rpc('early'), { code: 'NOT_CONNECTED', message: /connect\(\)/ })
  t.equal(client.emit('early'), false)
  const connected = client.connect()
  const answer = client.rpc('first')
  t.equal(client.emit('second', 2), true)
  const controller = new AbortController()
  const aborted = client.rpc('third', undefined, { signal: controller.signal })
  const late = t.rejects(client.rpc('fourth', undefined, { timeoutMs: 5 }), { name: 'RpcError', code: -32001 })
  const fifth = client.rpc('fifth')
  const peer = await server.accept()
  controller.abort()
  await t.rejects(aborted, { name: 'AbortError' })
  await late
  t.strictSame(peer.received, [])
  peer.welcome()
  await connected
  const call = await peer.next(Opcode.RPC_REQ)
  peer.result(call, 1)
  t.equal(await answer, 1)
  peer.result(await peer.next(Opcode.RPC_REQ), 5)
  t.equal(await fifth, 5)
  t.strictSame(peer.received.map(({ opcode, payload }) => [opcode, payload]), [[Opcode.EVENT_C2S, { event: 'second', data: 2 }]], 'what was given up is not sent, and needs no RPC_CANCEL')
})

t.test('client: what waits for a connection is bounded in number and size', async (t) => {
  const server = await listen(t)
  const { client } = watch(t, { url: server.url })
  const connected = client.connect()
  let taken = 0
  while (client.emit('n', taken) && taken < 10_000) taken++
  t.equal(taken, 1000)
  await t.rejects(client.rpc('n'), { code: 'BUSY' })
  const peer = (await server.accept()).welcome()
  await connected
  for (let i = 0; i < taken; i++) if ((await peer.next(Opcode.EVENT_C2S)).payload.data !== i) t.fail('out of order')
  peer.socket.terminate()
  const again = await server.accept()
  const megabyte = 'x'.repeat(1024 * 1024)
  let large = 0
  while (client.emit('large', megabyte) && large < 100) large++
  t.equal(large, 3, 'under 4 MiB together')
  t.equal(client.emit('small', 1), true)
  again.welcome()
  await again.until(() => again.received.length === 4)
})

t.test('client: a call that never got a connection says so', async (t) => {
  const server = await listen(t)
  const { client } = watch(t, { url: server.url })
  const connected = client.connect()
  const answer = client.rpc('x')
  await server.accept()
  await client.disconnect()
  await t.rejects(answer, { code: 'NOT_CONNECTED' })
  await t.rejects(connected, { code: 'DISCONNECTED' })
})

t.test('client: a frame that the server would not take is refused here, and the connection stays', async (t) => {
  const { client, peer, errors, until } = await dial(t, {}, { maxPayload: 1000 })
  const noise = Array.from({ length: 3000 }, () => String.fromCharCode(32 + Math.random() * 90)).join('')
  await t.rejects(client.rpc('store', noise), { code: 'PAYLOAD_TOO_LARGE', message: /maxPayload of 1000/ })
  client.emit('store', noise)
  await until(() => errors.length > 0)
  t.match(errors, [{ code: 'PAYLOAD_TOO_LARGE' }])
  const answer = client.rpc('store', 'x'.repeat(3000))
  peer.result(await peer.next(Opcode.RPC_REQ), 'deflated it fits')
  await answer
})

t.test('client: a network that does not take more: calls and events are refused, and not kept', async (t) => {
  const { client, peer, errors } = await dial(t, {}, { maxPayload: 2 ** 31 })
  peer.socket.pause()
  const noise = Array.from({ length: 1024 * 1024 }, () => String.fromCharCode(32 + Math.random() * 90)).join('')
  let sent = 0
  while (errors.length === 0 && sent++ < 1000) client.emit('n', noise)
  t.match(errors, [{ code: 'BUSY' }])
  t.ok(sent < 100, `${sent} megabytes`)
  await t.rejects(client.rpc('n'), { code: 'BUSY' })
  peer.socket.terminate()
})

t.test('client: what JSON cannot hold', async (t) => {
  const { client, peer } = await dial(t)
  await t.rejects(client.rpc('x', { n: 1n }), TypeError)
  t.throws(() => client.emit('x', { n: 1n }), TypeError)
  const answer = client.rpc('y')
  peer.result(await peer.next(Opcode.RPC_REQ), 1)
  await answer
})

t.test('events: every handler hears each, whatever the others do', async (t) => {
  const { client, peer, errors } = await dial(t)
  const heard: unknown[] = []
  const event = (name: string, data: unknown): void => { peer.send(Opcode.EVENT_S2C, 0, { event: name, data, timestamp: 5 }) }
  const mistake = new Error('mine')
  client.on('chat', () => { throw mistake })
  const handler = (message: object): void => { heard.push(message) }
  client.on('chat', handler)
  client.on('chat', handler)
  const off = client.on('chat', ({ data }) => { heard.push(data) })
  // one that takes itself away and comes back hears the next one, and not this one again
  const restless = (): void => {
    client.off('chat', restless)
    client.on('chat', restless)
  }
  client.on('chat', restless)
  const done = new Promise<void>((resolve) => { client.on('done', () => { resolve() }) })
  event('chat', { text: 'hello' })
  event('other', 1)
  event('done', null)
  await done
  const message = { event: 'chat', data: { text: 'hello' }, timestamp: 5 }
  t.strictSame(heard, [message, message, { text: 'hello' }], 'a function that was given twice hears it twice')
  t.strictSame(errors, [mistake])
  off()
  client.off('chat', handler)
  client.off('chat', handler)
  client.off('never', handler)
  const later = new Promise<void>((resolve) => { client.on('later', () => { resolve() }) })
  event('chat', 2)
  event('later', null)
  await later
  t.equal(heard.length, 3)
})

t.test('states: a handler that throws is reported, one that ended hears nothing, and the newest state is the last', async (t) => {
  const { client, errors, states } = await dial(t)
  const heard: string[] = []
  const end = client.onConnectionState(() => { t.fail('it has ended') })
  end()
  client.onConnectionState(() => { throw new Error('mine') })
  const stubborn = client.onConnectionState((state) => { if (state === 'disconnected') client.connect().catch(() => {}) })
  client.onConnectionState((state) => { heard.push(state) })
  await client.disconnect()
  t.equal(states.at(-1), 'connecting')
  t.strictSame(heard, ['connecting'])
  t.ok(errors.length > 0)
  stubborn()
})

t.test('client: a refused event is heard, by its name', async (t) => {
  const { peer, errors, until } = await dial(t)
  peer.send(Opcode.ERROR, 0, { code: 'RATE_LIMITED', message: 'rate limit exceeded', retryAfter: 100, event: 'chat' })
  await until(() => errors.length === 1)
  t.match(errors, [{ name: 'DatasoleError', code: 'RATE_LIMITED', message: 'event "chat" was refused: rate limit exceeded' }])
})

t.test('client: an error of the server that belongs to nothing goes to onError', async (t) => {
  const { peer, errors, until } = await dial(t)
  peer.send(Opcode.ERROR, 0, { code: 'RATE_LIMITED', message: 'slower', retryAfter: 5 })
  await until(() => errors.length === 1)
  t.ok(errors[0] instanceof DatasoleError)
  t.match(errors, [{ code: 'RATE_LIMITED', message: 'slower' }])
})
