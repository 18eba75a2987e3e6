import { deflateSync } from 'node:zlib'
import t, { type Test } from 'tap'
import { isWellFormed } from '../../lib/protocol/frame.js'
import { Opcode } from '../../lib/protocol/opcodes.js'
import { type Running, entrances } from '../helpers/entrances.js'
import { exchange, tcp, upgradeRequest, upgraded, webSocketFrame } from '../helpers/raw.js'
import { type Wire, deflated, encode } from '../helpers/wire.js'

/** Clients that came before the attack and after it are served. */
async function unmoved (t: Test, { connect }: Running, witness: Wire): Promise<void> {
  t.same((await witness.call('echo', 'before')).result, 'before', 'others do not notice')
  const newcomer = await connect()
  t.same((await newcomer.call('echo', 'after')).result, 'after', 'newcomers are served')
  await newcomer.close()
}

const NESTED = '['.repeat(100_000) + ']'.repeat(100_000)
const rpc = (id: number, body: string): Buffer => raw(Opcode.RPC_REQ, id, body)

function raw (opcode: number, id: number, body: string | Buffer, declared = Buffer.byteLength(body)): Buffer {
  const header = Buffer.alloc(9)
  header[0] = opcode
  header.writeUInt32BE(id, 1)
  header.writeUInt32BE(declared, 5)
  return Buffer.concat([header, Buffer.from(body)])
}

const ECHO = '{"method":"echo","params":1,"correlationId":7}'

/** Binary messages that are no frames, or none for a server. */
const BAD: Array<[name: string, message: Buffer]> = [
  ['nothing', Buffer.alloc(0)],
  ['one byte', Buffer.from([1])],
  ['half a header', Buffer.from([1, 0, 0, 0])],
  ['a length too long', raw(Opcode.RPC_REQ, 7, ECHO, ECHO.length + 1)],
  ['a length too short', raw(Opcode.RPC_REQ, 7, ECHO, ECHO.length - 1)],
  ['a length of 4 GiB', raw(Opcode.RPC_REQ, 7, ECHO, 0xffffffff)],
  ['opcode 0', raw(0, 7, ECHO)],
  ['opcode 255', raw(255, 7, ECHO)],
  ['the answer to a call', raw(Opcode.RPC_RES, 7, '{"correlationId":7,"result":1}')],
  ['an event of the server\'s', raw(Opcode.EVENT_S2C, 7, '{"event":"a","data":1,"timestamp":1}')],
  ['a WELCOME', raw(Opcode.WELCOME, 7, '{}')],
  ['a snapshot', raw(Opcode.STATE_SNAPSHOT, 7, '{"key":"k","version":1,"data":1}')],
  ['no payload', raw(Opcode.RPC_REQ, 7, '')],
  ['truncated JSON', rpc(7, ECHO.slice(0, -1))],
  ['a payload that is no object', rpc(7, '7')],
  ['a payload that is null', rpc(7, 'null')],
  ['a payload that is a list', rpc(7, '[]')],
  ['broken UTF-8', raw(Opcode.RPC_REQ, 7, Buffer.from(ECHO.replace('echo', 'ech\xff'), 'latin1'))],
  ['100,000 levels of nesting', rpc(7, `{"method":"echo","params":${NESTED},"correlationId":7}`)],
  ['a method that is no string', rpc(7, '{"method":{"toString":1},"correlationId":7}')],
  ['no correlationId', rpc(7, '{"method":"echo"}')],
  ['another correlationId', rpc(7, '{"method":"echo","correlationId":8}')],
  ['a correlationId as text', rpc(7, '{"method":"echo","correlationId":"7"}')],
  ['an event without a name', raw(Opcode.EVENT_C2S, 7, '{"data":1}')],
  ['an event with a list as name', raw(Opcode.EVENT_C2S, 7, '{"event":["a"],"data":1}')],
  ['a subscription to nothing', raw(Opcode.SUBSCRIBE, 7, '{}')],
  ['a subscription to null', raw(Opcode.SUBSCRIBE, 7, '{"key":null}')],
  ['an epoch that is an object', raw(Opcode.SUBSCRIBE, 7, '{"key":"k","epoch":{}}')],
  ['a version that is a string', raw(Opcode.SUBSCRIBE, 7, '{"key":"k","epoch":"e","version":"1"}')],
  ['a version that is half', raw(Opcode.SUBSCRIBE, 7, '{"key":"k","epoch":"e","version":0.5}')],
  ['a version beyond counting', raw(Opcode.SUBSCRIBE, 7, '{"key":"k","epoch":"e","version":1e300}')],
  ['an unsubscription from a number', raw(Opcode.UNSUBSCRIBE, 7, '{"key":5}')],
  ['a push of nothing', raw(Opcode.STATE_PUSH, 7, '{}')],
  ['the first byte of a zlib stream', Buffer.from([0x78])],
  ['a broken zlib stream', Buffer.concat([deflated(rpc(7, ECHO)).subarray(0, 20), Buffer.alloc(20)])],
  ['a truncated zlib stream', deflated(rpc(7, ECHO)).subarray(0, -4)],
  ['bytes after the zlib stream', Buffer.concat([deflated(rpc(7, ECHO)), Buffer.from('x')])],
  ['two zlib streams', Buffer.concat([deflated(rpc(7, ECHO)), deflated(rpc(7, ECHO))])],
  ['a zlib stream in a zlib stream', deflated(deflated(rpc(7, ECHO)))],
  ['a zlib stream with a wrong checksum', Buffer.concat([deflated(rpc(7, ECHO)).subarray(0, -1), Buffer.from([0])])],
  ['a zlib stream of nothing', deflateSync(Buffer.alloc(0))]
]

for (const [entrance, start] of entrances) {
  t.test(`hostile, ${entrance}`, async (t) => {
    t.test('requests that are not HTTP as it should be', async (t) => {
      const running = await start(t)
      const { port } = running
      const witness = await running.connect()
      for (const request of [
        'GET // HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n',
        'GET /__ds HTTP/1.1\r\nHost: [\r\nConnection: close\r\n\r\n',
        'GET /%zz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n',
        'GET http://[ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n',
        'GET * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n',
        'OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n',
        'GET /__ds\0 HTTP/1.1\r\n\r\n',
        '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03', // the first bytes of TLS
        'garbage\r\n\r\n',
        Buffer.alloc(100_000, 0xff)
      ]) {
        // on plain http nobody answers what is not ours
        if (entrance === 'fastify' || !/^(GET|OPTIONS) (\/\/|\/%|http|\*)/.test(request.toString())) {
          t.match(await exchange(port, request), /^HTTP\/1\.1 4\d\d /, JSON.stringify(request.toString().slice(0, 30)))
        }
      }
      await unmoved(t, running, witness)
    })

    t.test('upgrades that are not as they should be', async (t) => {
      const running = await start(t)
      const { port } = running
      const witness = await running.connect()
      for (const target of ['//', '//__ds', '/%', '/__ds%', '/__ds/', '/__ds/x', '/%5F%5Fds%zz', '*', 'http://[', '?', '/__DS']) {
        t.match(await exchange(port, upgradeRequest(target)), /^HTTP\/1\.1 4\d\d /, `target ${target}`)
      }
      const headers: Array<[Record<string, string>, RegExp]> = [
        [{ Host: '[', Origin: 'http://[' }, /403/],
        [{ Host: '[', Origin: 'http://a.example' }, /403/],
        [{ Host: 'a b' }, /101|400/],
        [{ Upgrade: 'h2c' }, /4\d\d/],
        [{ 'Sec-WebSocket-Key': 'short' }, /400/],
        [{ 'Sec-WebSocket-Version': '99' }, /4\d\d/],
        [{ 'Sec-WebSocket-Protocol': 'datasole.v2, datasole.v2' }, /101|400/],
        [{ 'Sec-WebSocket-Protocol': ',,,' }, /101|400/],
        [{ 'Sec-WebSocket-Protocol': 'datasole.token.%%%' }, /101|400/]
      ]
      for (const [changed, expected] of headers) {
        const socket = await tcp(port)
        socket.write(upgradeRequest('/__ds', changed))
        const text = await new Promise<string>((resolve) => { socket.once('data', (chunk) => { resolve(chunk.toString('latin1')) }) })
        t.match(text.split('\r\n')[0], expected, JSON.stringify(changed))
        t.notMatch(text, /sec-websocket-protocol: (?!datasole\.v2\r)/i, 'nothing else is selected')
        socket.destroy()
      }
      await unmoved(t, running, witness)
    })

    t.test('messages that are no frames', async (t) => {
      const running = await start(t, { maxBadFrames: 10_000, rateLimit: false })
      const witness = await running.connect()
      const attacker = await running.connect()
      await attacker.nextOf(Opcode.WELCOME)
      for (const [name, message] of BAD) {
        const { badFrames } = running.ds.metrics.snapshot()
        attacker.sendRaw(message)
        const { opcode, payload } = await attacker.next()
        t.match({ opcode, ...payload }, { opcode: Opcode.ERROR, code: 'BAD_FRAME', message: String }, name)
        t.equal(running.ds.metrics.snapshot().badFrames, badFrames + 1)
        if (message[0] !== Opcode.RPC_REQ || !isWellFormed(message)) continue
        t.match(await attacker.next(), { opcode: Opcode.RPC_RES, id: 7, payload: { error: { code: -32600, data: { code: 'BAD_FRAME' } } } }, 'every call is answered')
      }
      attacker.sendRaw('text')
      t.match(await attacker.next(), { opcode: Opcode.ERROR, payload: { code: 'BAD_FRAME' } }, 'text')
      t.same((await attacker.call('echo', 1)).result, 1, 'the connection itself still works')
      await unmoved(t, running, witness)
    })

    t.test('ends with 1002 after too many of them, with 1003 for text', async (t) => {
      const running = await start(t)
      const witness = await running.connect()
      const attacker = await running.connect()
      for (let i = 0; i < 10_000; i++) attacker.sendRaw(Buffer.from(`garbage ${i}`))
      t.match(await attacker.closed, { code: 1002 })
      t.equal(attacker.received.filter(({ opcode }) => opcode === Opcode.ERROR).length, 11)
      t.equal(running.ds.metrics.snapshot().badFrames, 11)
      const writer = await running.connect()
      for (let i = 0; i < 11; i++) writer.sendRaw('hello')
      t.match(await writer.closed, { code: 1003 })
      await unmoved(t, running, witness)
    })

    t.test('WebSocket frames that break RFC 6455', async (t) => {
      const running = await start(t)
      const witness = await running.connect()
      const frames: Array<[string, Buffer, number]> = [
        ['unmasked', webSocketFrame(encode(Opcode.PING, 1, null), { masked: false }), 1002],
        ['a reserved bit', webSocketFrame(encode(Opcode.PING, 1, null), { rsv: 4 }), 1002],
        ['a reserved opcode', webSocketFrame(Buffer.alloc(0), { opcode: 3 }), 1002],
        ['a continuation of nothing', webSocketFrame(Buffer.alloc(1), { opcode: 0 }), 1002],
        ['a fragmented ping', webSocketFrame(Buffer.alloc(1), { opcode: 9, fin: false }), 1002],
        ['a ping of 126 bytes', webSocketFrame(Buffer.alloc(126), { opcode: 9 }), 1002],
        ['a close code that must not be', webSocketFrame(Buffer.from([3, 237]), { opcode: 8 }), 1002],
        ['text that is not UTF-8', webSocketFrame(Buffer.from([0xff]), { opcode: 1 }), 1007],
        ['a length of 2^63', Buffer.from([0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]), 1009]
      ]
      for (const [name, bytes, code] of frames) {
        const socket = await upgraded(running.port)
        socket.write(bytes)
        const chunks: Buffer[] = []
        // the close frame is the last thing that comes: two bytes of header, then the code
        for await (const chunk of socket) {
          chunks.push(chunk as Buffer)
          const all = Buffer.concat(chunks)
          const at = all.lastIndexOf(0x88)
          if (at >= 0 && all.length >= at + 4 && all.length === at + 2 + all[at + 1]!) {
            t.equal(all.readUInt16BE(at + 2), code, name)
            break
          }
        }
        socket.destroy()
      }
      await unmoved(t, running, witness)
    })

    t.test('takes a message in fragments', async (t) => {
      const { port, ds } = await start(t)
      const socket = await upgraded(port)
      const frame = encode(Opcode.RPC_REQ, 7, { method: 'note', params: 1, correlationId: 7 })
      const noted = new Promise((resolve) => { ds.rpc.register('note', resolve) })
      socket.write(webSocketFrame(frame.subarray(0, 5), { fin: false }))
      socket.write(webSocketFrame(Buffer.alloc(0), { opcode: 9 }))
      for (const byte of frame.subarray(5)) socket.write(webSocketFrame(Buffer.from([byte]), { opcode: 0, fin: false }))
      socket.write(webSocketFrame(Buffer.alloc(0), { opcode: 0 }))
      t.equal(await noted, 1)
      socket.destroy()
    })

    t.test('names and keys that mean something to JavaScript', async (t) => {
      const running = await start(t, { rateLimit: false })
      const { ds } = running
      const witness = await running.connect()
      const attacker = await running.connect()
      const prototype = Object.getOwnPropertyNames(Object.prototype)
      for (const name of ['__proto__', 'constructor', 'prototype', 'toString', 'hasOwnProperty', 'valueOf', '', '\0', '$subscribe']) {
        t.match((await attacker.call(name)).error, { code: -32601 }, `method ${name}`)
        attacker.send(Opcode.EVENT_C2S, 0, { event: name, data: { a: 1 } })
        const { opcode, payload } = await attacker.ask(Opcode.SUBSCRIBE, { key: name })
        t.match({ opcode, ...payload }, { opcode: Opcode.STATE_SNAPSHOT, key: name, version: 0 }, `key ${name}`)
        attacker.send(Opcode.UNSUBSCRIBE, 0, { key: name })
        t.match((await attacker.ask(Opcode.STATE_PUSH, { key: name, data: 1 })).payload, { code: 'UNKNOWN_KEY' })
        t.match((await attacker.ask(Opcode.CRDT_OP, { key: name, op: {} })).payload, { code: 'INVALID_PATCH' })
        t.match(await attacker.ask(Opcode.CRDT_OP, { key: `crdt ${name}`, op: { type: 'lww-map', op: 'set', nodeId: name || '-', timestamp: 1, key: name, value: JSON.parse('{"__proto__":{"polluted":1}}') } }), { opcode: Opcode.CRDT_ACK })
      }
      const evil = '{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}}}'
      attacker.sendRaw(rpc(900, `{"method":"echo","__proto__":{"polluted":1},"params":${evil},"correlationId":900}`))
      const { payload } = await attacker.waitFor(({ id }) => id === 900)
      t.equal(JSON.stringify(payload.result), evil, 'a value goes through as it is')
      attacker.sendRaw(rpc(901, '{"__proto__":{"method":"echo","correlationId":901}}'))
      t.match((await attacker.waitFor(({ id }) => id === 901)).payload, { code: 'BAD_FRAME' }, 'members do not come from __proto__')
      await attacker.ping()
      t.same(Object.getOwnPropertyNames(Object.prototype), prototype)
      t.equal(({} as { polluted?: unknown }).polluted, undefined)
      t.equal(await ds.primitives.live.getState('__proto__'), undefined)
      await unmoved(t, running, witness)
    })

    t.test('huge names', async (t) => {
      const running = await start(t)
      const witness = await running.connect()
      const attacker = await running.connect()
      const huge = 'x'.repeat(1_000_000)
      const { error } = await attacker.call(huge)
      t.equal(error.code, -32601)
      t.ok(error.message.length < 200, 'is not sent back')
      attacker.send(Opcode.EVENT_C2S, 0, { event: huge })
      await attacker.ping()
      t.equal(running.ds.metrics.snapshot().eventsDropped, 1)
      const { opcode, payload } = await attacker.ask(Opcode.SUBSCRIBE, { key: huge })
      t.equal(opcode, Opcode.ERROR)
      t.ok(JSON.stringify(payload).length < 300, 'is not sent back')
      for (const refused of [Opcode.STATE_PUSH, Opcode.CRDT_OP]) {
        const { opcode, payload } = await attacker.ask(refused, { key: huge })
        t.equal(opcode, Opcode.ERROR)
        t.ok(JSON.stringify(payload).length < 300, 'is not sent back')
      }
      await unmoved(t, running, witness)
    })

    t.test('correlation ids that are zero, used twice, or unknown', async (t) => {
      const running = await start(t)
      const witness = await running.connect()
      const attacker = await running.connect()
      running.ds.rpc.register('later', async (params) => await Promise.resolve(params))
      const request = (id: number, params: unknown): void => attacker.send(Opcode.RPC_REQ, id, { method: 'later', params, correlationId: id })
      request(0, 'zero')
      t.same((await attacker.nextOf(Opcode.RPC_RES)).payload, { correlationId: 0, result: 'zero' })
      request(5, 'first')
      request(5, 'second')
      t.equal((await attacker.nextOf(Opcode.RPC_RES)).payload.result, 'first')
      t.equal((await attacker.nextOf(Opcode.RPC_RES)).payload.result, 'second')
      request(0xffffffff, 'last')
      t.equal((await attacker.waitFor(({ id }) => id === 0xffffffff)).payload.result, 'last')
      for (const id of [21, 22, 22]) attacker.send(Opcode.SUBSCRIBE, id, { key: 'k' })
      for (const id of [21, 22, 22]) t.equal((await attacker.nextOf(Opcode.STATE_SNAPSHOT)).id, id, 'every SUBSCRIBE is answered')
      running.ds.addHook('preSubscribe', async () => { throw new Error('no') })
      for (const id of [23, 24]) attacker.send(Opcode.SUBSCRIBE, id, { key: 'k' })
      for (const id of [23, 24]) t.match(await attacker.waitFor((frame) => frame.id === id), { opcode: Opcode.ERROR, payload: { code: 'FORBIDDEN' } }, 'or refused')
      for (let i = 0; i < 1000; i++) attacker.send(Opcode.RPC_CANCEL, i, null)
      await attacker.ping()
      t.equal(attacker.received.filter(({ opcode }) => opcode === Opcode.ERROR).length, 0)
      await unmoved(t, running, witness)
    })

    t.test('versions that nobody has', async (t) => {
      const running = await start(t)
      const witness = await running.connect()
      const attacker = await running.connect()
      await running.ds.primitives.live.setState('k', { a: 1 })
      const first = await attacker.ask(Opcode.SUBSCRIBE, { key: 'k' })
      const { epoch } = first.payload
      for (const version of [-1, -(2 ** 53 - 1), 0, 2, 2 ** 53 - 1]) {
        const { opcode, payload } = await attacker.ask(Opcode.SUBSCRIBE, { key: 'k', epoch, version })
        t.ok(opcode === Opcode.STATE_SNAPSHOT || (opcode === Opcode.STATE_PATCH && payload.from === version), `version ${version}`)
        t.equal(payload.version, 1)
      }
      t.match((await attacker.ask(Opcode.SUBSCRIBE, { key: 'k', epoch: '', version: 1 })).payload, { version: 1, data: { a: 1 } })
      await running.ds.primitives.live.setState('k', { a: 2 })
      t.match((await attacker.nextOf(Opcode.STATE_PATCH)).payload, { from: 1, version: 2 }, 'and gets what follows once')
      await attacker.ping()
      t.equal(attacker.received.filter(({ opcode }) => opcode === Opcode.STATE_PATCH).length, 0)
      await unmoved(t, running, witness)
    })
  })
}
