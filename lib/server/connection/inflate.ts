import { constants, inflateSync } from 'node:zlib'

/** Bytes that are not one whole zlib stream (RFC 1950); the message says why. */
export class BrokenStream extends Error {}

/**
 * Inflates a frame.
 * @returns undefined where it would be larger than the bound, which holds while it inflates
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

/** Bytes of a stream in which its first ones are told: the tables before them have up to 300 (RFC 1951 section 3.2.7). */
const HEAD = 320

/** The beginning of a frame that is not inflated whole, so that its refusal names it; empty where the stream is broken. */
export function inflateHead (data: Buffer): Buffer {
  try {
    return inflateSync(data.subarray(0, HEAD), { finishFlush: constants.Z_SYNC_FLUSH })
  } catch {
    return Buffer.alloc(0) // it is refused in any case
  }
}

/** Frames of the largest size that a connection may have inflated within a second. */
const MAX_FRAMES = 4

/**
 * How much was inflated for a connection of late. It is looked at first: what a frame is, and so which
 * rate limit it counts in, is known only once it is inflated, and a kilobyte can become a megabyte.
 */
export class Inflation {
  #bytes = 0
  #since = 0

  /** 0, or the ms until there is room again. */
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
