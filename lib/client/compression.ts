import { DatasoleError } from '../protocol/errors.js'
import { ZLIB_MAGIC } from '../protocol/frame.js'
import type { Bytes } from './codec.js'

/** Minimum size in bytes of a frame to compress. */
const THRESHOLD = 1024
/** Maximum size in bytes of an inflated frame. */
const MAX_INFLATED = 64 * 1024 * 1024

interface Transform { readable: { getReader (): Reader }, writable: { getWriter (): Writer } }
interface Reader { read (): Promise<{ done: boolean, value?: Bytes }>, cancel (): Promise<void> }
interface Writer { write (bytes: Bytes): Promise<void>, close (): Promise<void> }
type TransformConstructor = new (format: string) => Transform

/** Compression Streams (https://compression.spec.whatwg.org): browsers since 2023, Node.js, Deno. Not React Native. */
const platform = globalThis as { CompressionStream?: TransformConstructor, DecompressionStream?: TransformConstructor }

/** Inflates a zlib stream (RFC 1950). */
export type Inflate = (deflated: Bytes) => Bytes | Promise<Bytes>

/** The platform's inflater, undefined if it has none. */
export function platformInflate (): Inflate | undefined {
  const { DecompressionStream } = platform
  return DecompressionStream && ((deflated) => pass(new DecompressionStream('deflate'), deflated, MAX_INFLATED))
}

/** Compresses a frame if it is large, the platform can compress, and the result is smaller. */
export function compress (frame: Bytes): Bytes | Promise<Bytes> {
  const { CompressionStream } = platform
  if (frame.length < THRESHOLD || CompressionStream === undefined) return frame
  return pass(new CompressionStream('deflate'), frame, Infinity).then((deflated) => deflated.length < frame.length && deflated[0] === ZLIB_MAGIC ? deflated : frame)
}

/** Passes bytes through a stream. @throws DatasoleError `PAYLOAD_TOO_LARGE` if the output exceeds `limit` bytes */
async function pass (transform: Transform, bytes: Bytes, limit: number): Promise<Bytes> {
  const writer = transform.writable.getWriter()
  // ignore write errors: the reader gets the stream's error too
  writer.write(bytes).catch(() => {})
  writer.close().catch(() => {})
  const reader = transform.readable.getReader()
  const chunks: Bytes[] = []
  let size = 0
  for (let next = await reader.read(); !next.done; next = await reader.read()) {
    chunks.push(next.value!)
    size += next.value!.length
    if (size <= limit) continue
    reader.cancel().catch(() => {})
    throw new DatasoleError('PAYLOAD_TOO_LARGE', `a frame inflates to more than ${limit} bytes`)
  }
  if (chunks.length === 1) return chunks[0]!
  const whole = new Uint8Array(size)
  let offset = 0
  for (const chunk of chunks) {
    whole.set(chunk, offset)
    offset += chunk.length
  }
  return whole
}
