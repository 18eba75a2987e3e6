import { constants, inflateSync } from 'node:zlib'

/** The data is not exactly one zlib stream (RFC 1950). The message says why. */
export class BrokenStream extends Error {}

/**
 * Inflates a frame.
 * @returns undefined if the result would exceed the bound; at most `bound` bytes are inflated
 * @throws BrokenStream
 */
export function inflate (data: Buffer, bound: number): Buffer | undefined {
  try {
    const { buffer, engine } = inflateSync(data, { maxOutputLength: bound, info: true }) as unknown as { buffer: Buffer, engine: { bytesWritten: number } }
    if (engine.bytesWritten !== data.length) throw new BrokenStream('there are bytes after the zlib stream')
    return buffer
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE') return undefined
    throw error instanceof BrokenStream ? error : new BrokenStream('the zlib stream is broken')
  }
}

/** Bytes of a stream that yield its first bytes: the code tables take up to 300 (RFC 1951 section 3.2.7). */
const HEAD = 320

/** The start of a frame that is not inflated whole, so that the refusal can name it; empty if the stream is broken. */
export function inflateHead (data: Buffer): Buffer {
  try {
    return inflateSync(data.subarray(0, HEAD), { finishFlush: constants.Z_SYNC_FLUSH })
  } catch {
    return Buffer.alloc(0) // the frame is refused anyway
  }
}

/** Most frames of `maxInflatedSize` that one connection may have inflated within a second. */
const MAX_FRAMES = 4

/**
 * Counts the bytes inflated for a connection within a second. It is checked first, because the rate limit of a frame is
 * known only after inflation, and a kilobyte can inflate to a megabyte.
 */
export class Inflation {
  #bytes = 0
  #since = 0

  /** 0 if a frame may be inflated now, else the ms until then. */
  wait (maxInflatedSize: number, now = performance.now()): number {
    if (now - this.#since >= 1000) {
      this.#since = now
      this.#bytes = 0
    }
    return this.#bytes < MAX_FRAMES * maxInflatedSize ? 0 : Math.ceil(this.#since + 1000 - now)
  }

  count (bytes: number): void {
    this.#bytes += bytes
  }
}
