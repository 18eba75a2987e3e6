import type { RpcError } from '../../protocol/errors.js'

/** A call that has not been answered, or whose handler still runs. */
export interface CallInFlight {
  readonly correlationId: number
  /** The neighbours in the list. */
  previous: CallInFlight | undefined
  next: CallInFlight | undefined
  abort (reason: RpcError): void
  /** Cancels the call for good if its handler has not begun; returns false if the handler may have begun. */
  withdraw (): boolean
}

/**
 * The calls in flight of a connection, in the order of arrival, as a linked list. A Set that fills and empties allocates
 * a new table every few calls.
 */
export class CallsInFlight {
  #first: CallInFlight | undefined
  #last: CallInFlight | undefined

  size = 0

  add (call: CallInFlight): void {
    this.size++
    call.previous = this.#last
    if (this.#last === undefined) this.#first = call
    else this.#last.next = call
    this.#last = call
  }

  /** @returns false if the call is not in the list */
  delete (call: CallInFlight): boolean {
    const { previous, next } = call
    if (previous === undefined && this.#first !== call) return false
    if (previous === undefined) this.#first = next
    else previous.next = next
    if (next === undefined) this.#last = previous
    else next.previous = previous
    call.previous = call.next = undefined
    this.size--
    return true
  }

  /** Cancels the calls whose handlers have not begun. @returns the correlation ids of the others */
  withdraw (): number[] {
    return this.list().filter((call) => !call.withdraw()).map(({ correlationId }) => correlationId)
  }

  /** A copy, as calls may end during a loop over them. */
  list (): CallInFlight[] {
    const calls = []
    for (let call = this.#first; call !== undefined; call = call.next) calls.push(call)
    return calls
  }
}
