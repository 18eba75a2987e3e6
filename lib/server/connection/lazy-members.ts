import { type Members, parseMembers, textOf } from './payload.js'

/** The members of a payload, parsed on first use, because they are often not used. */
export class LazyMembers {
  readonly #maxDepth: number
  #members: Members | undefined

  constructor (readonly payload: Buffer, maxDepth: number) {
    this.#maxDepth = maxDepth
  }

  /** @throws BadFrame */
  get (name: string): unknown {
    return (this.#members ??= parseMembers(textOf(this.payload, this.#maxDepth)))[name]
  }
}
