import { DatasoleError } from '../protocol/errors.js'

/** What `connect()` has promised, until there is a connection, or will be none. */
export class Attempt {
  readonly promise: Promise<void>
  resolve!: () => void
  #reject!: (error: Error) => void

  constructor () {
    this.promise = new Promise<void>((resolve, reject) => {
      this.resolve = resolve
      this.#reject = reject
    })
  }

  /** @param cause undefined where `disconnect()` was called */
  failed (cause: DatasoleError | undefined): void {
    // whoever called disconnect() knows why: it must not end the process where nobody looks at the promise
    if (cause === undefined) this.promise.catch(() => {})
    this.#reject(cause ?? new DatasoleError('DISCONNECTED', 'disconnect() was called'))
  }
}
