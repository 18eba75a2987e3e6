import { DatasoleError } from '../../protocol/errors.js'

/** Whether something that has to be connected first can be used. */
export class Readiness {
  readonly #what: string
  #isReady: boolean
  #connecting: Promise<void> | undefined

  /** @param what names the object in the error of a use that is too early */
  constructor (what: string, isReady: boolean) {
    this.#what = what
    this.#isReady = isReady
  }

  get isReady (): boolean { return this.#isReady }

  /** From now on uses wait for `connecting`, which may begin later. */
  announce (connecting: Promise<unknown>): void {
    this.#connecting = connecting.then(() => {})
    this.#connecting.catch(() => {}) // the caller of `connecting` gets the error
  }

  connected (): void {
    this.#isReady = true
  }

  /** The promise to wait for before a use; undefined if there is nothing to wait for. Rejects with `NOT_STARTED`. */
  wait (): Promise<void> | undefined {
    if (this.#isReady) return undefined
    return this.#connecting ?? Promise.reject(new DatasoleError('NOT_STARTED', `the ${this.#what} is not connected yet: await ds.init() first`))
  }
}
