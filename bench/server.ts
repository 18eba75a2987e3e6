import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout } from 'node:timers/promises'
import { Redis } from 'ioredis'
import { WebSocket, WebSocketServer } from 'ws'
import inspector from '../plugins/inspector.js'
import { deepFreeze } from '../lib/protocol/frozen.js'
import { DatasoleServer } from '../plugins/server.js'
import { records } from './records.js'

/**
 * The server process of a scenario, told what to do over IPC: datasole, or bare ws doing the least that
 * the same job needs. CPU time is this process's own, so the load does not count.
 */
export type Command =
  | { do: 'cpu' }
  | { do: 'memory' }
  | { do: 'broadcast', bytes: number }
  | { do: 'publish', records: number }
  | { do: 'state', records: number }
  | { do: 'update' }
  /** `setState` with two of the records replaced; `frozen` as Immer gives them. */
  | { do: 'set', frozen: boolean }
  | { do: 'send', bytes: number }

/** `cpu` in µs, `heap` and `rss` in bytes. */
export interface Answer { cpu: number, heap: number, rss: number }

interface Subject { run (command: Command): unknown, port: number }

/** Where it is a node of many. */
const url = process.env.REDIS_URL

const subject = await (process.argv[2] === 'datasole' ? datasole() : bareWs())

process.on('message', (command: Command) => { void obey(command) })
process.on('disconnect', () => { process.exit() })
process.send!({ port: subject.port })

async function obey (command: Command): Promise<void> {
  switch (command.do) {
    case 'memory':
      // what a first collection sets free, a second one may find
      for (let i = 0; i < 3; i++) {
        await setTimeout(200)
        global.gc!()
      }
      return answer()
    case 'cpu':
      return answer()
    case 'state':
      await subject.run(command)
      return answer()
    default:
      await subject.run(command)
  }
}

function answer (): void {
  const { user, system } = process.cpuUsage()
  const { heapUsed, external, rss } = process.memoryUsage()
  process.send!({ cpu: user + system, heap: heapUsed + external, rss } satisfies Answer)
}

async function datasole (): Promise<Subject> {
  const http = createServer()
  const ds = new DatasoleServer({ rateLimit: false, ...process.env.COMPRESSION === 'off' && { compression: false }, ...url !== undefined && { backendConfig: { type: 'redis', redis: { url } } } })
  ds.rpc.register('echo', (params) => params)
  if (process.env.INSPECTOR !== undefined) ds.register(inspector, { prefix: process.env.INSPECTOR })
  ds.transport.attach(http)
  await ds.init()
  const port = await listen(http)
  let updates = 0
  let data = ''
  let list = records(0)
  return {
    port,
    run (command) {
      if (command.do === 'broadcast') return ds.primitives.fanout.broadcast('tick', (data ||= 'x'.repeat(command.bytes)))
      if (command.do === 'publish') return ds.primitives.fanout.broadcast('tick', { n: ++updates, records: records(command.records) })
      if (command.do === 'state') {
        list = records(command.records)
        return ds.primitives.live.setState('state', { records: list })
      }
      if (command.do === 'set') {
        updates++
        list = list.map((record, i) => i === 10 || i === 900 ? { ...record, value: updates } : record)
        return ds.primitives.live.setState('state', command.frozen ? deepFreeze({ records: list }) : { records: list })
      }
      if (command.do === 'update') return ds.primitives.live.update('state', (draft) => { (draft as { records: Array<{ value: number }> }).records[500]!.value = ++updates })
    }
  }
}

async function bareWs (): Promise<Subject> {
  const http = createServer()
  const wss = new WebSocketServer({ server: http })
  wss.on('connection', (socket) => {
    socket.on('message', (data: Buffer) => { socket.send(JSON.stringify(JSON.parse(data.toString()))) })
  })
  const port = await listen(http)
  const send = (frame: Buffer): void => {
    // cheaper than `_sender.sendFrame`, which writes header and payload apart
    for (const socket of wss.clients) (socket as unknown as { _socket: { write: (data: Buffer) => void } })._socket.write(frame)
  }
  let frame: Buffer | undefined
  const relay = url === undefined ? undefined : await openRelay(url, send)
  return {
    port,
    run (command) {
      if (command.do !== 'broadcast' && command.do !== 'send') return
      if (relay !== undefined) return relay(command.bytes)
      send(frame ??= prepared(Buffer.alloc(command.bytes, 'x')))
    }
  }
}

/** What one writes by hand: events as JSON on a channel, sent on by every node, one frame for all sockets. */
async function openRelay (url: string, send: (frame: Buffer) => void): Promise<(bytes: number) => unknown> {
  const [publisher, subscriber] = [new Redis(url), new Redis(url)]
  await subscriber.subscribe('tick')
  subscriber.on('message', (_channel, text) => { send(prepared(Buffer.from(text))) })
  let data = ''
  return (bytes) => publisher.publish('tick', JSON.stringify({ event: 'tick', data: (data ||= 'x'.repeat(bytes)), timestamp: Date.now() }))
}

/** A WebSocket frame, built once for all. */
function prepared (payload: Buffer): Buffer {
  const { Sender } = WebSocket as unknown as { Sender: { frame: (data: Buffer, options: object) => Buffer[] } }
  return Buffer.concat(Sender.frame(payload, { fin: true, opcode: 2, mask: false, readOnly: true, rsv1: false }))
}

function listen (http: ReturnType<typeof createServer>): Promise<number> {
  return new Promise((resolve) => { http.listen(0, '127.0.0.1', () => { resolve((http.address() as AddressInfo).port) }) })
}
