import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { WebSocket, WebSocketServer } from 'ws'
import { DatasoleServer } from '../plugins/server.js'
import { records } from './records.js'

/**
 * The server process of a scenario, told what to do over IPC: datasole, or bare ws doing the least that
 * the same job needs. CPU time is this process's own, so the load does not count.
 */
export type Command =
  | { do: 'cpu' }
  | { do: 'broadcast', bytes: number }
  | { do: 'state', records: number }
  | { do: 'update' }
  | { do: 'send', bytes: number }

interface Subject { run (command: Command): unknown, port: number }

const subject = await (process.argv[2] === 'datasole' ? datasole() : bareWs())

process.on('message', (command: Command) => {
  if (command.do === 'cpu') {
    const { user, system } = process.cpuUsage()
    process.send!({ cpu: user + system, rss: process.memoryUsage().rss })
  } else {
    void Promise.resolve(subject.run(command)).then((bytes) => { if (command.do === 'state') process.send!({ bytes }) })
  }
})
process.on('disconnect', () => { process.exit() })
process.send!({ port: subject.port })

async function datasole (): Promise<Subject> {
  const http = createServer()
  const ds = new DatasoleServer({ rateLimit: false, maxCallsInFlight: 1000 })
  ds.rpc.register('echo', (params) => params)
  ds.transport.attach(http)
  const port = await listen(http)
  let updates = 0
  let padding = ''
  return {
    port,
    run (command) {
      if (command.do === 'broadcast') ds.primitives.fanout.broadcast('tick', (padding ||= 'x'.repeat(command.bytes)))
      else if (command.do === 'state') return ds.primitives.live.setState('state', { records: records(command.records) })
      else if (command.do === 'update') return ds.primitives.live.update('state', (draft) => { (draft as { records: Array<{ value: number }> }).records[500]!.value = ++updates })
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
  let frame: Buffer | undefined
  return {
    port,
    run (command) {
      if (command.do === 'state') frame = undefined
      if (command.do !== 'broadcast' && command.do !== 'send') return
      frame ??= prepared(Buffer.alloc(command.bytes, 'x'))
      for (const socket of wss.clients) (socket as unknown as { _socket: { write: (data: Buffer) => void } })._socket.write(frame)
    }
  }
}

/** A WebSocket frame, built once. */
function prepared (data: Buffer): Buffer {
  const { Sender } = WebSocket as unknown as { Sender: { frame: (data: Buffer, options: object) => Buffer[] } }
  return Buffer.concat(Sender.frame(data, { fin: true, opcode: 2, mask: false, readOnly: true, rsv1: false }))
}

function listen (http: ReturnType<typeof createServer>): Promise<number> {
  return new Promise((resolve) => { http.listen(0, '127.0.0.1', () => { resolve((http.address() as AddressInfo).port) }) })
}
