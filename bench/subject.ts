import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { WebSocket } from 'ws'
import { encodeFrame } from '../lib/protocol/frame.js'
import { Opcode } from '../lib/protocol/opcodes.js'
import type { Answer, Command } from './server.js'

export type Kind = 'datasole' | 'ws'

/** A server process and the connections to it; this process is the load. */
export class Subject {
  readonly kind: Kind
  readonly #sockets: WebSocket[] = []
  readonly #process: ChildProcess
  #port = 0
  #isStopping = false
  /** Called for every message that arrives. */
  #onMessage: (socket: WebSocket, data: Buffer) => void = () => {}

  /** @param env more of it, such as the `REDIS_URL` that makes the server a node of many */
  constructor (kind: Kind, env: Record<string, string> = {}) {
    this.kind = kind
    this.#process = fork(fileURLToPath(new URL('server.js', import.meta.url)), [kind], { execArgv: [...process.execArgv, '--expose-gc'], env: { ...process.env, ...env } })
    this.#process.on('exit', (code) => { if (!this.#isStopping) throw new Error(`the ${kind} server ended with ${code}`) })
  }

  async start (): Promise<this> {
    const [{ port }] = await once(this.#process, 'message') as [{ port: number }]
    this.#port = port
    return this
  }

  get origin (): string { return `http://127.0.0.1:${this.#port}` }

  async connect (count: number): Promise<void> {
    for (let i = 0; i < count; i += 100) {
      await Promise.all(Array.from({ length: Math.min(100, count - i) }, async () => {
        const isOurs = this.kind === 'datasole'
        const socket = new WebSocket(`ws://127.0.0.1:${this.#port}${isOurs ? '/__ds' : ''}`, isOurs ? ['datasole.v3'] : [], { perMessageDeflate: false })
        socket.on('close', () => { if (!this.#isStopping) throw new Error(`the ${this.kind} server closed a connection`) })
        const ready = once(socket, isOurs ? 'message' : 'open') // ours says welcome
        this.#sockets.push(socket)
        await ready
        socket.on('message', (data: Buffer) => { this.#onMessage(socket, data) })
      }))
    }
  }

  tell (command: Command): void {
    this.#process.send(command)
  }

  /** For commands that are answered: cpu, memory, state. */
  async ask (command: Command): Promise<Answer> {
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

  /** `count` times: tell the server something, and wait until every connection has had a message of it. */
  async rounds (count: number, command: Command): Promise<void> {
    for (let i = 0; i < count; i++) await this.#everyone(() => { this.tell(command) })
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
      this.#onMessage = (socket) => {
        if (++answered === count) resolve()
        call(socket)
      }
      for (let i = 0; i < depth; i++) for (const socket of this.#sockets) call(socket)
    })
  }

  /** `count` times: start something, and wait for all connections; ms from the start to each of their messages. */
  async latencies (count: number, start: () => void): Promise<number[]> {
    const latencies: number[] = []
    for (let i = 0; i < count; i++) {
      const began = performance.now()
      await this.#everyone(start, () => { latencies.push(performance.now() - began) })
    }
    return latencies
  }

  /** Resolves once everyone mirrors the key. */
  async subscribe (key: string): Promise<void> {
    const frame = encodeFrame(Opcode.SUBSCRIBE, 1, Buffer.from(JSON.stringify({ key })))
    await this.#everyone(() => { for (const socket of this.#sockets) socket.send(frame) })
  }

  /** Bytes of the message that a command leads to. */
  async nextLength (command: Command): Promise<number> {
    return await this.#everyone(() => { this.tell(command) })
  }

  /** Waits until every connection has had a message; gives the length of the last one. */
  #everyone (start: () => void, onEach?: () => void): Promise<number> {
    let missing = this.#sockets.length
    return new Promise((resolve) => {
      this.#onMessage = (_socket, { length }) => {
        onEach?.()
        if (--missing === 0) resolve(length)
      }
      start()
    })
  }

  async stop (): Promise<void> {
    this.#isStopping = true
    const ended = once(this.#process, 'exit')
    for (const socket of this.#sockets) socket.terminate()
    this.#process.disconnect()
    await ended
  }
}
