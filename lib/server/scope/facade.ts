import type { Scope } from './scope.js'

/** A facade of server `S`. Code that has only a facade reaches the rest of the server through it. */
export class Facade<S> {
  readonly #server: S

  constructor (server: S) {
    this.#server = server
  }

  /** The server that the facade belongs to. */
  get server (): S { return this.#server }
}

/** A facade that registers in a scope, and writes to the backend of that scope. */
export class ScopedFacade<S> extends Facade<S> {
  protected readonly scope: Scope

  constructor (server: S, scope: Scope) {
    super(server)
    this.scope = scope
    Object.defineProperty(this, 'scope', { enumerable: false })
  }
}
