import { EventEmitter, once } from 'node:events'
import type { IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type WebSocket, WebSocketServer } from 'ws'
import { Opcode } from '../../lib/protocol/opcodes.js'
import { type Received, decode, encode } from '../helpers/wire.js'
import { inTime } from '../helpers/until.js'

interface Test { teardown (fn: () => unknown): void }

/** The server's end of one connection, which does only what the test says. */
export class Peer {
  /** Frames that nobody has taken yet, in order. PINGs are counted instead. */
  readonly received: Received[] = []
  pings = 0
  /** Whether a PING gets its PONG. */
  answersPings = true
  ended: { code: number } | undefined
  readonly #news = new EventEmitter().setMaxListeners(0)

  constructor (readonly socket: WebSocket, readonly request: IncomingMessage) {
    socket.on('message', (data: Buffer) => {
      const frame = decode(data)
      if (frame.opcode === Opcode.PING) {
        this.pings++
        if (this.answersPings) this.send(Opcode.PONG, frame.id, null)
      } else {
        this.received.push(frame)
      }
      this.#news.emit('news')
    })
    socket.on('close', (code) => {
      this.ended = { code }
      this.#news.emit('news')
    })
  }

  get offered (): string[] { return (this.request.headers['sec-websocket-protocol'] ?? '').split(/, ?/) }

  send (opcode: number, id: number, payload: unknown): void { this.socket.send(encode(opcode, id, payload)) }

  welcome ({ heartbeatMs = 60_000, maxPayload = 1024 * 1024, maxCallsInFlight }: { heartbeatMs?: number, maxPayload?: number, maxCallsInFlight?: number } = {}): this {
    this.send(Opcode.WELCOME, 0, { protocol: 2, connectionId: 'c1', heartbeatMs, maxPayload, maxCallsInFlight })
    return this
  }

  /** Answers a call. */
  result (call: Received, result: unknown): void { this.send(Opcode.RPC_RES, call.id, { correlationId: call.id, result }) }

  /** The oldest frame of this kind that nobody has taken. */
  async next (opcode: number): Promise<Received> {
    await this.until(() => this.received.some((frame) => frame.opcode === opcode))
    return this.received.splice(this.received.findIndex((frame) => frame.opcode === opcode), 1)[0]!
  }

  /** Looks after every frame, and at the end. */
  async until (isTrue: (peer: this) => boolean): Promise<void> {
    while (!isTrue(this)) {
      if (this.ended !== undefined) throw new Error(`the connection ended with ${this.ended.code}, and what was awaited had not come`)
      await inTime(once(this.#news, 'news'), () => `a frame after which ${isTrue.toString()}`)
    }
  }

  /** The code that the client closed with. */
  async closed (): Promise<number> {
    while (this.ended === undefined) await inTime(once(this.#news, 'news'), () => 'the client to close its connection')
    return this.ended.code
  }
}

export interface Listening {
  url: string
  port: number
  wss: WebSocketServer
  /** The next connection, in order. */
  accept (): Promise<Peer>
  /** How many there have been. */
  count (): number
  /** Stops listening, and ends all connections without a word. */
  stop (): Promise<void>
}

/** A WebSocket server on which the test plays the datasole server. */
export async function listen (t: Test, port = 0): Promise<Listening> {
  const wss = new WebSocketServer({ port, host: '127.0.0.1', handleProtocols: (offered) => offered.has('datasole.v2') && 'datasole.v2' })
  await once(wss, 'listening')
  const arrived: Peer[] = []
  const news = new EventEmitter()
  let count = 0
  wss.on('connection', (socket, request) => {
    count++
    arrived.push(new Peer(socket, request))
    news.emit('news')
  })
  let stopped: Promise<void> | undefined
  const stop = (): Promise<void> => {
    stopped ??= new Promise((resolve) => {
      for (const socket of wss.clients) socket.terminate()
      wss.close(() => { resolve() })
    })
    return stopped
  }
  t.teardown(stop)
  const { port: actual } = wss.address() as AddressInfo
  return {
    url: `ws://127.0.0.1:${actual}`,
    port: actual,
    wss,
    count: () => count,
    stop,
    async accept () {
      while (arrived.length === 0) await inTime(once(news, 'news'), () => 'a client to connect')
      return arrived.shift()!
    }
  }
}
