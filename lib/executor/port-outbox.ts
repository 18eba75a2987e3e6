import type { MessagePort } from 'node:worker_threads'

/** A queue for the other side: everything from one turn of the event loop leaves as one message. */
export class PortOutbox<Head, Message> {
  readonly #port: MessagePort
  readonly #head: () => Head
  #messages: Message[] = []
  #transfer: ArrayBuffer[] = []
  #scheduled = false

  /** @param head is put before what leaves */
  constructor (port: MessagePort, head: () => Head) {
    this.#port = port
    this.#head = head
  }

  /** @param transfer memory that changes hands with it */
  push (message: Message, transfer?: ArrayBuffer): void {
    this.#messages.push(message)
    if (transfer !== undefined) this.#transfer.push(transfer)
    if (this.#scheduled) return
    this.#scheduled = true
    setImmediate(() => { this.flush() })
  }

  flush (): void {
    this.#scheduled = false
    if (this.#messages.length === 0) return
    const messages = this.#messages
    const transfer = this.#transfer
    this.#messages = []
    if (transfer.length > 0) this.#transfer = []
    this.#port.postMessage([this.#head(), messages], transfer)
  }
}
