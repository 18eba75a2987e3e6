import { type AbortSignalLike, onAbort } from '../protocol/abort.js'
import { DatasoleError } from '../protocol/errors.js'

/** Options of `connect()`. */
export interface ConnectOptions {
  /** Aborts the attempt for all callers. `connect()` rejects with `CONNECT_ABORTED`, with the reason as `cause`. */
  signal?: AbortSignalLike
}

/** The promise of `connect()`. It is pending until the client is connected or gives up. */
export class Deferred {
  readonly promise: Promise<void>
  readonly #stop: () => void
  readonly #timer: ReturnType<typeof setTimeout> | undefined
  readonly #releases: Array<() => void> = []
  #resolve!: () => void
  #reject!: (error: Error) => void
  #last: DatasoleError | undefined
  /** The error with which this client ended the attempt. */
  #why: DatasoleError | undefined

  /**
   * @param timeoutMs ms, 0 for no limit
   * @param stop ends the attempt; must lead to `failed`
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

  /** Records a failed attempt that will be repeated. @returns whether it is the first failure */
  goesOn (failure: DatasoleError): boolean {
    const isFirst = this.#last === undefined
    this.#last = failure
    return isFirst
  }

  succeeded (): void {
    this.#release()
    this.#resolve()
  }

  /** @param cause undefined if this client ended the connection */
  failed (cause: DatasoleError | undefined): void {
    this.#release()
    const why = this.#why ?? cause
    // after disconnect(), an unhandled rejection must not end the process
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
  return new DatasoleError('CONNECT_ABORTED', 'the signal ended connect()', { cause: reason })
}
