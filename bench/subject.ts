import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { WebSocket } from 'ws'
import { decodeFrame, encodeFrame } from '../lib/protocol/frame.js'
import { Opcode, SUBPROTOCOL } from '../lib/protocol/opcodes.js'
import type { Command } from './server.js'

export type Kind = 'datasole' | 'ws'

/** A server process and the connections to it; this process is the load. */
export class Subject {
  readonly kind: Kind
  readonly sockets: WebSocket[] = []
  readonly #process: ChildProcess
  #port = 0
  /** Called for every message that arrives. */
  onMessage: (socket: WebSocket, data: Buffer) => void = () => {}

  constructor (kind: Kind) {
    this.kind = kind
    this.#process = fork(fileURLToPath(new URL('server.js', import.meta.url)), [kind])
  }

  async start (): Promise<this> {
    const [{ port }] = await once(this.#process, 'message') as [{ port: number }]
    this.#port = port
    return this
  }

  async connect (count: number): Promise<void> {
    for (let i = 0; i < count; i += 100) {
      await Promise.all(Array.from({ length: Math.min(100, count - i) }, async () => {
        const isOurs = this.kind === 'datasole'
        const socket = new WebSocket(`ws://127.0.0.1:${this.#port}${isOurs ? '/__ds' : ''}`, isOurs ? [SUBPROTOCOL] : [], { perMessageDeflate: false })
        const ready = once(socket, isOurs ? 'message' : 'open') // ours says welcome
        this.sockets.push(socket)
        await ready
        socket.on('message', (data: Buffer) => { this.onMessage(socket, data) })
      }))
    }
  }

  tell (command: Command): void {
    this.#process.send(command)
  }

  async ask (command: Command): Promise<{ cpu: number, rss: number, bytes: number }> {
    this.tell(command)
    const [answer] = await once(this.#process, 'message')
    return answer
  }

  /** Server CPU (µs) that some work takes. */
  async cost (work: () => Promise<void>): Promise<number> {
    const before = await this.ask({ do: 'cpu' })
    await work()
    const after = await this.ask({ do: 'cpu' })
    return after.cpu - before.cpu
  }

  /** `rounds` times: tell the server something, and wait until every connection has had a message of it. */
  async rounds (rounds: number, command: Command): Promise<void> {
    const { length } = this.sockets
    let missing = length
    let left = rounds
    await new Promise<void>((resolve) => {
      this.onMessage = () => {
        if (--missing > 0) return
        if (--left === 0) return resolve()
        missing = length
        this.tell(command)
      }
      this.tell(command)
    })
  }

  /** `count` calls in all, with `depth` under way on each connection. */
  async echo (count: number, depth: number): Promise<void> {
    let sent = 0
    let answered = 0
    await new Promise<void>((resolve) => {
      const call = (socket: WebSocket): void => {
        if (sent++ >= count) return
        const request = JSON.stringify({ method: 'echo', params: { text: 'hello', n: sent }, correlationId: sent })
        socket.send(this.kind === 'datasole' ? encodeFrame(Opcode.RPC_REQ, sent, Buffer.from(request)) : request)
      }
      this.onMessage = (socket) => {
        if (++answered === count) resolve()
        call(socket)
      }
      for (let i = 0; i < depth; i++) for (const socket of this.sockets) call(socket)
    })
  }

  /** Resolves to the length of a patch as it stands on the wire, once everyone mirrors the key. */
  async subscribe (key: string): Promise<void> {
    let missing = this.sockets.length
    await new Promise<void>((resolve) => {
      this.onMessage = () => { if (--missing === 0) resolve() }
      for (const socket of this.sockets) socket.send(encodeFrame(Opcode.SUBSCRIBE, 1, Buffer.from(JSON.stringify({ key }))))
    })
  }

  /** Bytes of the next message. */
  async nextLength (command: Command): Promise<number> {
    let length = 0
    this.onMessage = (_socket, data) => {
      length = data.length
      decodeFrame(data)
    }
    let missing = this.sockets.length
    const count = this.onMessage
    await new Promise<void>((resolve) => {
      this.onMessage = (socket, data) => {
        count(socket, data)
        if (--missing === 0) resolve()
      }
      this.tell(command)
    })
    return length
  }

  stop (): void {
    for (const socket of this.sockets) socket.terminate()
    this.#process.disconnect()
  }
}
