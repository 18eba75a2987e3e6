import { once } from 'node:events'
import { type IncomingMessage, type Server, type ServerResponse, createServer, get } from 'node:http'
import type { AddressInfo } from 'node:net'
import websocket from '@fastify/websocket'
import express from 'express'
import Fastify from 'fastify'
import { Server as SocketIo } from 'socket.io'
import t, { type Test } from 'tap'
import { WebSocket, WebSocketServer } from 'ws'
import datasole from '../../index.js'
import { Opcode } from '../../lib/protocol/opcodes.js'
import { DatasoleServer } from '../../plugins/server.js'
import { connect } from '../helpers/wire.js'

interface Neighbour {
  join (server: Server): void
  /** Rejects where it is not answered exactly as without us. */
  check (t: Test, port: number): Promise<void>
  leave? (): unknown
}

async function body (port: number, path: string): Promise<string> {
  const [response] = await once(get({ port, host: '127.0.0.1', path, agent: false }), 'response') as [IncomingMessage]
  let text = ''
  for await (const chunk of response) text += String(chunk)
  return text
}

function plainWs (): Neighbour {
  let wss: WebSocketServer
  return {
    join (server) {
      wss = new WebSocketServer({ server, path: '/plain' })
      wss.on('connection', (socket) => { socket.on('message', (data) => { socket.send(`plain ${String(data)}`) }) })
    },
    async check (t, port) {
      const socket = new WebSocket(`ws://127.0.0.1:${port}/plain`)
      await once(socket, 'open')
      socket.send('hi')
      t.equal(String((await once(socket, 'message'))[0]), 'plain hi')
      socket.terminate()
    },
    leave: () => { wss.close() }
  }
}

function socketIo (): Neighbour {
  let io: SocketIo
  return {
    join (server) {
      io = new SocketIo(server, { serveClient: false })
      io.on('connection', (socket) => { socket.emit('hello') })
    },
    async check (t, port) {
      const polled = await body(port, '/socket.io/?EIO=4&transport=polling')
      t.match(polled, /^0\{"sid"/, 'one answer to a poll')
      const socket = new WebSocket(`ws://127.0.0.1:${port}/socket.io/?EIO=4&transport=websocket`)
      t.match(String((await once(socket, 'message'))[0]), /^0\{"sid"/)
      socket.terminate()
    },
    // closes the http server too, which the test does itself
    leave: () => { io.engine.close() }
  }
}

function expressApp (): Neighbour {
  let served = 0
  const app = express()
  app.get('/express', (_req, res) => { served++; res.send('express') })
  const listener = (req: IncomingMessage, res: ServerResponse): void => { if (req.url === '/express') app(req, res) }
  return {
    join (server) { server.on('request', listener) },
    async check (t, port) {
      served = 0
      t.equal(await body(port, '/express'), 'express')
      t.equal(served, 1)
    }
  }
}

function secondDatasole (): Neighbour {
  const ds = new DatasoleServer({ path: '/second' })
  ds.rpc.register('who', () => 'second')
  return {
    join (server) { ds.transport.attach(server) },
    async check (t, port) {
      const wire = await connect(`ws://127.0.0.1:${port}/second`)
      t.equal((await wire.call('who')).result, 'second')
      await wire.close()
    },
    leave: () => ds.close()
  }
}

const KINDS: Record<string, () => Neighbour> = { 'a plain ws server': plainWs, 'Socket.IO': socketIo, 'an Express app': expressApp, 'a second datasole': secondDatasole }

function listeners (server: Server): Record<string, unknown[]> {
  return { upgrade: server.listeners('upgrade'), request: server.listeners('request'), emit: [server.emit, Object.hasOwn(server, 'emit')] }
}

async function listening (t: Test): Promise<{ server: Server, port: number }> {
  const server = createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => { server.closeAllConnections(); server.close() })
  return { server, port: (server.address() as AddressInfo).port }
}

async function checkOurs (t: Test, port: number): Promise<void> {
  const wire = await connect(`ws://127.0.0.1:${port}/__ds`)
  t.equal((await wire.call('who')).result, 'ours')
  await wire.close()
}

for (const [name, make] of Object.entries(KINDS)) {
  for (const order of ['before', 'after']) {
    for (const first of ['ours', 'theirs']) {
      t.test(`${name}, that comes ${order} us; ${first} closes first`, async (t) => {
        const { server, port } = await listening(t)
        const neighbour = make()
        const ds = new DatasoleServer()
        ds.rpc.register('who', () => 'ours')
        if (order === 'before') neighbour.join(server)
        const before = listeners(server)
        ds.transport.attach(server)
        if (order === 'after') neighbour.join(server)
        await neighbour.check(t, port)
        await checkOurs(t, port)
        await neighbour.check(t, port)
        if (first === 'ours') {
          await ds.close()
          await neighbour.check(t, port)
          if (order === 'before') t.same(listeners(server), before, 'the server is as it was')
          await neighbour.leave?.()
        } else {
          await neighbour.leave?.()
          await checkOurs(t, port)
          await ds.close()
        }
        t.notOk(Object.hasOwn(server, 'emit'))
      })
    }
  }
}

t.test('neighbours: all of them on one server, closed in the order they came', async (t) => {
  const { server, port } = await listening(t)
  const before = listeners(server)
  const ds = new DatasoleServer()
  ds.rpc.register('who', () => 'ours')
  const neighbours = [expressApp(), socketIo(), secondDatasole()]
  neighbours[0]!.join(server)
  ds.transport.attach(server)
  neighbours[1]!.join(server)
  neighbours[2]!.join(server)
  for (const neighbour of neighbours) await neighbour.check(t, port)
  await checkOurs(t, port)
  await ds.close()
  for (const neighbour of neighbours) await neighbour.check(t, port)
  await neighbours[2]!.leave!()
  t.same(listeners(server).emit, before.emit)
  for (const neighbour of neighbours.slice(0, 2)) await neighbour.check(t, port)
})

t.test('neighbours: request listeners that are added later, or only once, or first', async (t) => {
  const { server, port } = await listening(t)
  const ds = new DatasoleServer()
  ds.transport.attach(server)
  const calls: string[] = []
  server.on('request', (_req, res) => { calls.push('later'); res.end('later') })
  server.once('request', () => { calls.push('once') })
  server.prependListener('request', () => { calls.push('first') })
  t.equal(await body(port, '/'), 'later')
  t.same(calls, ['first', 'later', 'once'])
  calls.length = 0
  await ds.close()
  t.equal(await body(port, '/__ds'), 'later')
  t.same(calls, ['first', 'later'])
})

t.test('neighbours: a Fastify application\'s own websocket routes', async (t) => {
  const app = Fastify()
  await app.register(datasole)
  app.get('/rooms/:room', { websocket: true }, (socket, request) => { socket.send((request.params as { room: string }).room) })
  app.get('/plain', async () => 'plain')
  app.route({ method: 'GET', url: '/both', handler: () => 'http', wsHandler: (socket) => { socket.send('ws') } })
  await app.register(async (scope) => { scope.get('/', { websocket: true }, (socket) => { socket.send('scoped') }) }, { prefix: '/scoped' })
  await app.listen({ port: 0, host: '127.0.0.1' })
  const { port } = app.server.address() as AddressInfo
  const wss = new WebSocketServer({ noServer: true })
  app.server.on('upgrade', (req, socket, head) => {
    if (req.url === '/neighbour') wss.handleUpgrade(req, socket, head, (ws) => { ws.send('neighbour') })
    else socket.destroy()
  })
  const open = []
  for (const [path, expected] of [['/rooms/blue?a=b', 'blue'], ['/both', 'ws'], ['/scoped', 'scoped'], ['/neighbour', 'neighbour']]) {
    const socket = new WebSocket(`ws://127.0.0.1:${port}${path}`)
    t.equal(String((await once(socket, 'message'))[0]), expected, path)
    open.push(socket)
  }
  t.equal(await body(port, '/plain'), 'plain')
  t.equal(await body(port, '/both'), 'http')
  const wire = await connect(`ws://127.0.0.1:${port}/__ds`)
  const closed = open.slice(0, 3).map((socket) => once(socket, 'close'))
  open[3]!.terminate()
  await app.close()
  t.match(await wire.closed, { code: 1001 })
  for (const close of closed) t.equal((await close)[0], 1001)
})

t.test('neighbours: @fastify/websocket, registered by the application before', async (t) => {
  const app = Fastify()
  await app.register(websocket, { options: { perMessageDeflate: true } })
  app.get('/theirs', { websocket: true }, (socket) => { socket.send('theirs') })
  await app.register(datasole, { closeTimeoutMs: 2000 })
  let release = (): void => {}
  const gate = new Promise<void>((resolve) => { release = resolve })
  app.ds.rpc.register('slow', async () => { await gate; return 'done' })
  await app.listen({ port: 0, host: '127.0.0.1' })
  const { port } = app.server.address() as AddressInfo
  const theirs = new WebSocket(`ws://127.0.0.1:${port}/theirs`)
  t.equal(String((await once(theirs, 'message'))[0]), 'theirs')
  const wire = await connect(`ws://127.0.0.1:${port}/__ds`)
  t.equal(wire.socket.extensions, '', 'no deflate on ours')
  const silent = await connect(`ws://127.0.0.1:${port}/__ds`)
  silent.socket.pause()
  const slow = wire.call('slow')
  await wire.ping()
  const closing = app.close()
  await new Promise((resolve) => setImmediate(resolve))
  release()
  t.equal((await slow).result, 'done', 'calls in flight are answered')
  t.match(await wire.closed, { code: 1001 })
  await closing
  silent.socket.terminate()
})

t.test('neighbours: listen on a name with several addresses', async (t) => {
  const app = Fastify()
  await app.register(datasole)
  await app.listen({ port: 0, host: 'localhost' })
  for (const { address, port } of app.addresses() as AddressInfo[]) {
    const wire = await connect(`ws://${address.includes(':') ? `[${address}]` : address}:${port}/__ds`)
    t.equal((await wire.next()).opcode, Opcode.WELCOME, address)
  }
  await app.close()
})
