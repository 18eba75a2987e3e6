/** The paths that a server beside an http server takes, beside its own: those that plugins serve. */
export class OwnedPaths {
  readonly #exact = new Set<string>()
  readonly #trees: string[] = []

  add (path: string): void {
    this.#exact.add(path)
  }

  /** Every path that begins so. */
  addTree (prefix: string): void {
    this.#trees.push(prefix)
  }

  /** @param path as it came: not decoded */
  has (path: string): boolean {
    return this.#exact.has(path) || this.#trees.some((prefix) => path.startsWith(prefix))
  }
}
