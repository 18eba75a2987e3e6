import { constants, createDeflate, deflateSync, inflateSync } from 'node:zlib'

/** Level 1 costs half of the default's time for a few per cent more bytes. */
const LEVEL = { level: 1 }

/** Beyond it the compression itself is nearly all of the cost, and the output needs a buffer of its own. */
const MAX_REUSED = 32 * 1024

/** Incompressible bytes grow by a few per thousand. */
const OUTPUT_SIZE = 2 * MAX_REUSED

/**
 * The parts of a stream of `node:zlib` that `deflateSync` uses, the same since Node.js 10. They are not documented, so
 * they are tried before they are relied on.
 */
interface Internals {
  readonly _handle: {
    reset (): void
    writeSync (flush: number, input: Uint8Array, inputOffset: number, inputSize: number, output: Uint8Array, outputOffset: number, outputSize: number): void
  }
  /** After a write: bytes of the output that are free, bytes of the input that are left. */
  readonly _writeState: Uint32Array
}

/**
 * One zlib stream for all frames, reset before each. `deflateSync` makes a new one every time, which costs 7 µs: as much
 * as it takes to compress 4 KB.
 */
class ReusedStream {
  readonly #handle: Internals['_handle']
  readonly #state: Uint32Array
  readonly #output = Buffer.allocUnsafeSlow(OUTPUT_SIZE)

  private constructor ({ _handle: handle, _writeState: state }: Internals) {
    this.#handle = handle
    this.#state = state
  }

  /** Undefined where this Node.js has other internals. */
  static open (): ReusedStream | undefined {
    try {
      const stream = createDeflate(LEVEL)
      stream.on('error', () => {}) // `deflate` sees it by the state
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

  /** A view that the next call overwrites; undefined if it failed. */
  deflate (input: Uint8Array): Buffer | undefined {
    this.#state[0] = 0
    this.#handle.reset()
    this.#handle.writeSync(constants.Z_FINISH, input, 0, input.length, this.#output, 0, OUTPUT_SIZE)
    const [free, left] = this.#state as unknown as [number, number]
    return free > 0 && left === 0 ? this.#output.subarray(0, OUTPUT_SIZE - free) : undefined
  }
}

/** Made with the first frame that is compressed, as it has 350 KB. Null before that, undefined where it cannot be. */
let reused: ReusedStream | undefined | null = null

/**
 * A zlib stream (RFC 1950) with a 32 KiB window.
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
