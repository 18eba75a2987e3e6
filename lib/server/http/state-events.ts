import type { CrdtSnapshot } from '../../crdt/crdt-frames.js'
import type { Head, StatePatch, StateSnapshot } from '../../protocol/messages.js'
import { Opcode } from '../../protocol/opcodes.js'
import type { CloseReason } from '../auth/pending-upgrades.js'
import { within } from '../lifecycle/until.js'
import type { Core } from '../core.js'
import type { Callers } from './callers.js'
import { positionOf } from './entity-tags.js'
import { STATE, refusalOf } from './exchange.js'
import type { FrameStream, ServerFrame } from './frame-stream.js'
import { HttpConnection, type HttpRequest, type Receiver } from './http-connection.js'
import { HttpRefusal } from './http-refusal.js'
import { unreadable } from './read-state.js'

/** ms after which a client reconnects: the field `retry` of the stream. */
const RECONNECT = 2000

/** Event texts by message, which all subscribers of a key share. */
const shared = new WeakMap<Buffer, string>()

/** A subscription as a stream of server-sent events (WHATWG HTML section 9.2). */
export class StateEvents implements Receiver {
  readonly #core: Core
  readonly #key: string
  #http: HttpConnection | undefined
  #ending: CloseReason | undefined
  #first: { resolve (): void, reject (error: HttpRefusal): void } | undefined

  private constructor (core: Core, key: string) {
    this.#core = core
    this.#key = key
  }

  /**
   * Resolves when the first event is available.
   * @param since the client's position in the key
   * @param timeoutMs ms that hooks and the backend may take
   * @throws HttpRefusal
   */
  static async open (core: Core, callers: Callers, request: HttpRequest, key: string, since: Head | undefined, timeoutMs: number): Promise<FrameStream> {
    const events = new StateEvents(core, key)
    const http = await HttpConnection.open(core, callers, request, events)
    events.#http = http
    try {
      if (events.#ending !== undefined) throw HttpRefusal.closed(events.#ending)
      http.stream.once('close', callers.wait(http.connection))
      http.stream.push(`retry: ${RECONNECT}\n\n`)
      const first = new Promise<void>((resolve, reject) => { events.#first = { resolve, reject } })
      http.send(Opcode.SUBSCRIBE, JSON.stringify({ key, ...since }))
      await within(timeoutMs, first, unreadable)
    } catch (error) {
      http.leave()
      throw error
    }
    http.stream.once('close', () => { http.leave(events.#ending?.code) })
    return http.stream
  }

  take (frame: ServerFrame): string | undefined {
    if (frame.opcode === 0) return ':\n\n'
    if (frame.opcode === Opcode.ERROR) return this.#refused(refusalOf(frame))
    if (!STATE.includes(frame.opcode)) return undefined
    // a CRDT operation is not a patch of the value, so the client gets the whole value
    if (frame.opcode === Opcode.CRDT_OP) this.#core.keyspace.subscriptions.resync(this.#http!.connection, this.#key)
    else this.#first?.resolve()
    return textOf(frame)
  }

  closed (ending: CloseReason): void {
    this.#ending = ending
    const { code, reason } = ending
    this.#first?.reject(HttpRefusal.closed(ending))
    const stream = this.#http?.stream
    if (stream === undefined) return
    stream.farewell = `event: close\ndata: ${JSON.stringify({ code, reason })}\n\n`
    stream.end()
  }

  /** Refuses the request before the first event. Later, it ends the stream with the event `error`. */
  #refused (error: HttpRefusal): string {
    if (this.#first !== undefined) this.#first.reject(error)
    queueMicrotask(() => { this.#http?.stream.end() })
    const { code, error: message } = error.body as { code?: string, error?: string }
    return `event: error\ndata: ${JSON.stringify({ code, message })}\n\n`
  }
}

/** @returns undefined for a frame without news */
function textOf (frame: ServerFrame): string | undefined {
  const known = frame.message && shared.get(frame.message)
  if (known !== undefined) return known
  const text = eventOf(frame)
  if (frame.message !== undefined && frame.correlationId === 0) shared.set(frame.message, text ?? '')
  return text
}

function eventOf ({ opcode, payload }: ServerFrame): string | undefined {
  if (opcode === Opcode.CRDT_OP) return undefined
  const message = JSON.parse(payload.toString()) as StatePatch & StateSnapshot & CrdtSnapshot
  const at = positionOf(message)
  if (opcode === Opcode.STATE_PATCH) return message.from === message.version ? undefined : event('patch', at, message.patches)
  if (message.version === 0) return event('deleted', at, null)
  return event('snapshot', at, opcode === Opcode.CRDT_STATE ? message.state!.value : message.data)
}

/** JSON text has no line breaks. */
function event (name: string, id: string, data: unknown): string {
  return `event: ${name}\nid: ${id}\ndata: ${JSON.stringify(data)}\n\n`
}
