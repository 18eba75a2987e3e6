import type { MessagePort } from 'node:worker_threads'

/** A queue of messages for a port. It posts the messages of one turn of the event loop as one batch. */
export class PortOutbox<Head, Message> {
  readonly #port: MessagePort
  readonly #head: () => Head
  #messages: Message[] = []
  #transfer: ArrayBuffer[] = []
  #scheduled = false

  /** @param head makes the first item of each batch */
  constructor (port: MessagePort, head: () => Head) {
    this.#port = port
    this.#head = head
  }

  /** @param transfer memory to move to the other thread */
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
