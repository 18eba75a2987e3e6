/** The paths that plugins serve, for a server beside an HTTP server. */
export class OwnedPaths {
  readonly #exact = new Set<string>()
  readonly #trees: string[] = []

  add (path: string): void {
    this.#exact.add(path)
  }

  /** Adds every path that begins with the prefix. */
  addTree (prefix: string): void {
    this.#trees.push(prefix)
  }

  /** @param path as received, not decoded */
  has (path: string): boolean {
    return this.#exact.has(path) || this.#trees.some((prefix) => path.startsWith(prefix))
  }
}
