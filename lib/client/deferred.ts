import { type AbortSignalLike, onAbort } from '../protocol/abort.js'
import { DatasoleError } from '../protocol/errors.js'

export interface ConnectOptions {
  /** Ends the attempt, for all who wait for it: `connect()` rejects with `CONNECT_ABORTED`, its reason as `cause`. */
  signal?: AbortSignalLike
}

/** What `connect()` has promised, until there is a connection, or will be none. */
export class Deferred {
  readonly promise: Promise<void>
  readonly #stop: () => void
  readonly #timer: ReturnType<typeof setTimeout> | undefined
  readonly #releases: Array<() => void> = []
  #resolve!: () => void
  #reject!: (error: Error) => void
  #last: DatasoleError | undefined
  /** Why it was ended from here. */
  #why: DatasoleError | undefined

  /**
   * @param timeoutMs 0 for no limit
   * @param stop has to lead to `failed`
   */
  constructor (timeoutMs: number, stop: () => void) {
    this.#stop = stop
    this.promise = new Promise<void>((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
    if (timeoutMs === 0) return
    this.#timer = setTimeout(() => {
      const last = this.#last === undefined ? '' : `; the last failure: ${this.#last.message}`
      this.#end(new DatasoleError('CONNECT_TIMEOUT', `no connection within connectTimeoutMs (${timeoutMs})${last}`, { cause: this.#last }))
    }, timeoutMs)
  }

  endWith (signal: AbortSignalLike): void {
    this.#releases.push(onAbort(signal, () => { this.#end(abortedBy(signal)) }))
  }

  /** It goes on trying. @returns whether that is the first failure, of which nobody has heard */
  goesOn (failure: DatasoleError): boolean {
    const isFirst = this.#last === undefined
    this.#last = failure
    return isFirst
  }

  succeeded (): void {
    this.#release()
    this.#resolve()
  }

  /** @param cause undefined where the connection was ended by this client */
  failed (cause: DatasoleError | undefined): void {
    this.#release()
    const why = this.#why ?? cause
    // whoever called disconnect() knows why: it must not end the process where nobody looks at the promise
    if (why === undefined) this.promise.catch(() => {})
    this.#reject(why ?? new DatasoleError('DISCONNECTED', 'disconnect() was called'))
  }

  #end (why: DatasoleError): void {
    this.#why = why
    this.#stop()
  }

  #release (): void {
    clearTimeout(this.#timer)
    for (const release of this.#releases) release()
  }
}

export function abortedBy ({ reason }: AbortSignalLike): DatasoleError {
  return new DatasoleError('CONNECT_ABORTED', 'connect() was ended by its signal', { cause: reason })
}
