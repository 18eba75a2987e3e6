import { constants, createDeflate, deflateSync, inflateSync } from 'node:zlib'

/** Level 1 takes half the time of the default level, for a few per cent more bytes. */
const LEVEL = { level: 1 }

/** Largest input (bytes) for the reused stream. For larger ones the setup cost of a new stream hardly matters. */
const MAX_REUSED = 32 * 1024

/** Room for incompressible input, which grows by a few per thousand. */
const OUTPUT_SIZE = 2 * MAX_REUSED

/**
 * The internals of a `node:zlib` stream that `deflateSync` uses, unchanged since Node.js 10. They are not documented,
 * so `open` tests them before use.
 */
interface Internals {
  readonly _handle: {
    reset (): void
    writeSync (flush: number, input: Uint8Array, inputOffset: number, inputSize: number, output: Uint8Array, outputOffset: number, outputSize: number): void
  }
  /** After a write: free bytes of the output, and remaining bytes of the input. */
  readonly _writeState: Uint32Array
}

/**
 * One zlib stream for all frames, reset before each. `deflateSync` creates a new stream each time, which takes 7 µs: as
 * long as compressing 4 KB.
 */
class ReusedStream {
  readonly #handle: Internals['_handle']
  readonly #state: Uint32Array
  readonly #output = Buffer.allocUnsafeSlow(OUTPUT_SIZE)

  private constructor ({ _handle: handle, _writeState: state }: Internals) {
    this.#handle = handle
    this.#state = state
  }

  /** Undefined if this version of Node.js has other internals. */
  static open (): ReusedStream | undefined {
    try {
      const stream = createDeflate(LEVEL)
      stream.on('error', () => {}) // `deflate` detects a failure by the state
      const reused = new ReusedStream(stream as unknown as Internals)
      const sample = Buffer.from('a sample, a sample')
      for (let i = 0; i < 2; i++) {
        const deflated = reused.deflate(sample)
        if (deflated === undefined || !inflateSync(deflated).equals(sample)) return undefined
      }
      return reused
    } catch {
      return undefined
    }
  }

  /** A view that the next call overwrites; undefined if compression failed. */
  deflate (input: Uint8Array): Buffer | undefined {
    this.#state[0] = 0
    this.#handle.reset()
    this.#handle.writeSync(constants.Z_FINISH, input, 0, input.length, this.#output, 0, OUTPUT_SIZE)
    const [free, left] = this.#state as unknown as [number, number]
    return free > 0 && left === 0 ? this.#output.subarray(0, OUTPUT_SIZE - free) : undefined
  }
}

/** Created for the first compressed frame, because it takes 350 KB. Null before that, undefined if it does not work. */
let reused: ReusedStream | undefined | null = null

/**
 * Compresses to a zlib stream (RFC 1950) with a 32 KiB window.
 * @returns bytes that are valid until the next call
 */
export function deflate (input: Uint8Array): Buffer {
  if (input.length > MAX_REUSED) return deflateSync(input, LEVEL)
  if (reused === null) reused = ReusedStream.open()
  const deflated = reused?.deflate(input)
  if (deflated !== undefined) return deflated
  reused = undefined
  return deflateSync(input, LEVEL)
}
