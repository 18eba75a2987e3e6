import { DatasoleError } from '../../protocol/errors.js'

/** Whether an object that has to connect first can be used. */
export class Readiness {
  readonly #what: string
  #isReady: boolean
  #connecting: Promise<void> | undefined

  /** @param what name of the object, for the error of a use before the start */
  constructor (what: string, isReady: boolean) {
    this.#what = what
    this.#isReady = isReady
  }

  get isReady (): boolean { return this.#isReady }

  /** Makes uses wait for `connecting`, which may begin later. */
  announce (connecting: Promise<unknown>): void {
    this.#connecting = connecting.then(() => {})
    this.#connecting.catch(() => {}) // the caller of `connecting` handles the error
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
