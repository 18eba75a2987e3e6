import { EventEmitter, once } from 'node:events'
import type { IncomingMessage } from 'node:http'
import { deflateSync, inflateSync } from 'node:zlib'
import jsonPatch from 'fast-json-patch'
import { WebSocket, type ClientOptions } from 'ws'
import { ZLIB_MAGIC, decodeFrame, encodeFrame } from '../../lib/protocol/frame.js'
import { Opcode } from '../../lib/protocol/opcodes.js'
import { ShortForms } from './short-forms.js'
import { inTime } from './until.js'

/** A frame as a client gets it. */
export interface Received {
  opcode: number
  id: number
  // tests read deep into payloads of every shape
  payload: any
  /** Whether it came as a zlib stream. */
  deflated: boolean
}

export interface ConnectOptions extends ClientOptions {
  /** Default that of version 3; `[]` for a client of version 1. */
  protocols?: string[]
}

export function encode (opcode: number, id: number, payload: unknown): Buffer {
  return Buffer.from(encodeFrame(opcode, id, Buffer.from(JSON.stringify(payload))))
}

export function deflated (frame: Uint8Array): Buffer {
  return deflateSync(frame)
}

/** @param short of the connection, where it may be of version 3: frames are given as version 2 would have sent them */
export function decode (message: Buffer, short?: ShortForms): Received {
  const isDeflated = message[0] === ZLIB_MAGIC
  const frame = isDeflated ? inflateSync(message) : message
  if (short !== undefined && frame[0]! >= Opcode.EVENT_COMPACT) return short.long(frame, isDeflated)
  const { opcode, correlationId: id, payload } = decodeFrame(frame)
  const parsed = JSON.parse(Buffer.from(payload).toString())
  short?.note(opcode, parsed)
  return { opcode, id, payload: parsed, deflated: isDeflated }
}

/** The version of clients whose test does not say. The suites that are listed in run.ts run with both. */
export const SUBPROTOCOL = process.env.DATASOLE_TEST_PROTOCOL ?? 'datasole.v3'

/** A client that hides nothing: it sends any bytes, and hands over every frame that it got. */
export class Wire {
  readonly socket: WebSocket
  /** How the connection ended; it never rejects. */
  readonly closed: Promise<{ code: number, reason: string }>
  /** Frames that nobody has taken yet, in order. */
  readonly received: Received[] = []
  /** What the server says in short. */
  readonly short = new ShortForms()
  #ended: { code: number, reason: string } | undefined
  readonly #news = new EventEmitter().setMaxListeners(0)
  // above those that tests choose themselves
  #lastId = 1_000_000

  constructor (url: string, { protocols = [SUBPROTOCOL], ...options }: ConnectOptions = {}) {
    this.socket = new WebSocket(url, protocols, options)
    this.socket.binaryType = 'nodebuffer'
    this.socket.on('message', (data: Buffer) => {
      this.received.push(decode(data, this.short))
      this.#news.emit('news')
    })
    // every error is followed by a close
    this.socket.on('error', () => {})
    this.closed = new Promise((resolve) => {
      this.socket.on('close', (code: number, reason: Buffer) => {
        this.#ended = { code, reason: reason.toString() }
        this.#news.emit('news')
        resolve(this.#ended)
      })
    })
  }

  /** An id that this client has not used yet. */
  id (): number { return ++this.#lastId }

  send (opcode: number, id: number, payload: unknown): void {
    this.socket.send(encode(opcode, id, payload))
  }

  sendRaw (bytes: Uint8Array | string): void {
    this.socket.send(bytes)
  }

  /** The oldest frame that nobody has taken. Rejects where the connection ends first. */
  next (): Promise<Received> {
    return this.waitFor(() => true)
  }

  /** The oldest frame that matches and that nobody has taken; the others stay. Rejects where the connection ends first. */
  async waitFor (matches: (frame: Received) => boolean): Promise<Received> {
    for (;;) {
      const i = this.received.findIndex(matches)
      if (i >= 0) return this.received.splice(i, 1)[0]!
      if (this.#ended !== undefined) throw new Error(`the connection ended with ${this.#ended.code} ${this.#ended.reason}, and what was awaited had not come`)
      await inTime(once(this.#news, 'news'), () => `a frame for which ${matches.toString()}, among ${JSON.stringify(this.received).slice(0, 500)}`)
    }
  }

  /** The next frame of this kind, whatever came before it. */
  nextOf (opcode: number): Promise<Received> {
    return this.waitFor((frame) => frame.opcode === opcode)
  }

  /** The answer to a frame that is sent under an id of its own. */
  ask (opcode: number, payload: unknown): Promise<Received> {
    const id = this.id()
    this.send(opcode, id, payload)
    return this.waitFor((frame) => frame.id === id)
  }

  /** The payload of the answer, with `result` or `error`. */
  async call (method: string, params?: unknown): Promise<any> {
    const id = this.id()
    this.send(Opcode.RPC_REQ, id, { method, params, correlationId: id })
    return (await this.waitFor((frame) => frame.opcode === Opcode.RPC_RES && frame.id === id)).payload
  }

  /** Resolves once the server has dealt with all that was sent before. */
  async ping (): Promise<void> {
    await this.ask(Opcode.PING, null)
  }

  async close (): Promise<void> {
    this.socket.close()
    await this.closed
  }
}

/** A client of version 3, unless `protocols` say otherwise. Rejects where the upgrade is refused. */
export async function connect (url: string, options?: ConnectOptions): Promise<Wire> {
  const wire = new Wire(url, options)
  await once(wire.socket, 'open')
  return wire
}

/** The HTTP response of an upgrade that is refused. Rejects where it is not. */
export async function refusal (url: string, { protocols = [SUBPROTOCOL], ...options }: ConnectOptions = {}): Promise<{ status: number, headers: IncomingMessage['headers'], body: string }> {
  const socket = new WebSocket(url, protocols, options)
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    socket.on('unexpected-response', (_request: unknown, response: IncomingMessage) => { resolve(response) })
    socket.on('open', () => { socket.terminate(); reject(new Error('the upgrade was not refused')) })
    socket.on('error', reject)
  })
  let body = ''
  for await (const chunk of response) body += String(chunk)
  return { status: response.statusCode!, headers: response.headers, body }
}

const UNSAFE = /(^|\/)(__proto__|constructor|prototype)(\/|$)/

/**
 * A client of the published protocol, as those in the wild behave: it never says what it wants,
 * sends no PING, ignores ERROR, and drops frames that it thinks unsafe.
 */
export class V1Client {
  readonly wire: Wire
  /** Its mirror of every key. */
  readonly state = new Map<string, unknown>()
  /** What no server may do to it. */
  readonly complaints: string[] = []
  readonly events: Array<{ event: string, data: unknown }> = []
  readonly #calls = new Map<number, (payload: { result?: unknown, error?: { code: number, message: string } }) => void>()
  readonly #news = new EventEmitter()

  constructor (url: string, options: ConnectOptions = {}) {
    // those on Node offer permessage-deflate, as ws does by default
    this.wire = new Wire(url, { ...options, protocols: [], maxPayload: 1024 * 1024 + 9 })
    this.wire.socket.on('message', (data: Buffer) => {
      this.#take(decode(data))
      this.#news.emit('news')
    })
  }

  call (method: string, params?: unknown): Promise<{ result?: unknown, error?: { code: number, message: string } }> {
    const id = this.wire.id()
    const answer = new Promise<{ result?: unknown, error?: { code: number, message: string } }>((resolve) => { this.#calls.set(id, resolve) })
    this.wire.send(Opcode.RPC_REQ, id, { method, params, correlationId: id })
    return answer
  }

  /** Looks after every frame. */
  async until (isTrue: (client: this) => boolean): Promise<void> {
    while (!isTrue(this)) await inTime(once(this.#news, 'news'), () => `a frame after which ${isTrue.toString()}`)
  }

  #take ({ opcode, id, payload }: Received): void {
    if (opcode === Opcode.RPC_RES) {
      this.#calls.get(id)?.(payload)
      this.#calls.delete(id)
    } else if (opcode === Opcode.EVENT_S2C) {
      this.events.push(payload)
    } else if (opcode === Opcode.STATE_SNAPSHOT) {
      this.state.set(payload.key, payload.data)
    } else if (opcode === Opcode.STATE_PATCH) {
      if (!this.state.has(payload.key)) this.complaints.push(`a patch of "${payload.key}" before its snapshot`)
      else if (payload.patches.some(({ path }: { path: string }) => UNSAFE.test(path))) this.complaints.push(`a patch of "${payload.key}" that is dropped`)
      else this.state.set(payload.key, jsonPatch.applyPatch(this.state.get(payload.key), payload.patches).newDocument)
    } else if (opcode > Opcode.CRDT_STATE) {
      this.complaints.push(`opcode ${opcode} of version 2`)
    }
  }
}

export async function connectV1 (url: string, options?: ConnectOptions): Promise<V1Client> {
  const client = new V1Client(url, options)
  await once(client.wire.socket, 'open')
  return client
}
