import { DatasoleError } from '../protocol/errors.js'
import { stringify } from '../protocol/json.js'
import type { GoAway, RpcResponse } from '../protocol/messages.js'
import { Opcode } from '../protocol/opcodes.js'
import type { OutboxOptions } from './client-options.js'
import type { ClientHost } from './feature.js'
import { type CallOptions, PendingCalls } from './pending-calls.js'
import { Outbox } from './outbox.js'

/** Sends calls and events to the server, or queues them until they can be sent. */
export class Requests {
  readonly #host: Pick<ClientHost, 'isConnected' | 'sendJson'>
  readonly #calls: PendingCalls
  readonly #outbox: Outbox
  readonly #keepsEvents: boolean
  /** Whether the server is closing the connection. Requests then wait for the next one. */
  #isLeaving = false

  /** @param outbox set if events are queued while the client is disconnected */
  constructor (host: Pick<ClientHost, 'isConnected' | 'sendJson'>, outbox?: OutboxOptions) {
    this.#host = host
    this.#outbox = new Outbox(outbox)
    this.#keepsEvents = outbox !== undefined
    this.#calls = new PendingCalls({
      givenUp: (id, isSent) => {
        if (isSent) host.sendJson(Opcode.RPC_CANCEL, id, 'null')
        else this.#outbox.delete(id)
      },
      returned: (id, json, isFull) => {
        if (!isFull) this.#isLeaving = true
        this.#outbox.putBack(id, () => { this.#send(id, json) })
      },
      widened: () => { this.#flush() }
    })
  }

  nextId (): number { return this.#calls.nextId() }

  async call (method: string, params: unknown, options: CallOptions): Promise<unknown> {
    const id = this.#calls.nextId()
    const json = stringify({ method, params, correlationId: id, traceparent: options.traceparent })!
    const answer = this.#calls.add(id, method, json, options)
    if (this.#isOpen && this.#calls.hasRoom) this.#send(id, json)
    else if (!this.#outbox.add(id, json, () => { this.#send(id, json) })) this.#calls.fail(id, new DatasoleError('BUSY', 'too many calls and events are waiting; try again later'))
    return await answer
  }

  /** @returns false if the queue is full */
  emit (event: string, json: string): boolean {
    const send = (): void => { this.#host.sendJson(Opcode.EVENT_C2S, 0, json) }
    if (!this.#isOpen) return this.#outbox.add(Symbol(event), json, send)
    send()
    return true
  }

  answered (id: number, answer: RpcResponse): void {
    this.#calls.answered(id, answer)
    this.#flush()
  }

  /** Handles GOAWAY, the server's last frame on this connection. */
  left ({ begun }: GoAway): void {
    this.#isLeaving = true
    this.#calls.left(begun)
  }

  /** @returns whether the unsent message was a call */
  unsent (id: number, error: DatasoleError): boolean {
    const isCall = this.#calls.fail(id, error)
    if (isCall) this.#flush()
    return isCall
  }

  /** @param maxCallsInFlight the server's limit, if WELCOME has it */
  connected (maxCallsInFlight: number | undefined): void {
    this.#isLeaving = false
    this.#calls.connected(maxCallsInFlight)
    this.#flush()
  }

  /** Fails the calls in flight. Queued requests wait for the next connection. */
  disconnected (): void {
    this.#calls.dropped()
  }

  /** Called when there will be no other connection. */
  abandoned (): void {
    this.#outbox.clear(this.#keepsEvents)
    this.#calls.abandoned()
  }

  get #isOpen (): boolean { return this.#host.isConnected && !this.#isLeaving }

  #flush (): void {
    if (this.#isOpen) this.#outbox.flush(() => this.#isOpen && this.#calls.hasRoom)
  }

  #send (id: number, json: string): void {
    this.#calls.sent(id)
    this.#host.sendJson(Opcode.RPC_REQ, id, json)
  }
}
