import { DatasoleError } from '../../protocol/errors.js'
import type { ChannelMode, Operation } from '../../protocol/messages.js'
import { PatchError, parsePatch } from '../../protocol/patch.js'

/** A client's change. Its shape has been checked, but not its content. */
export interface Push {
  readonly key: string
  /** The version that the patches were made on; absent in mode `snapshot`. */
  readonly epoch: string
  readonly base: number
  readonly patches: Operation[] | undefined
  /** The whole value, in mode `snapshot`. */
  readonly data: unknown
  readonly client: string
  readonly seq: number
  /** Bytes of the frame. */
  readonly size: number
}

/** The frame is not a valid push. The message says why. */
export class MalformedPush extends Error {}

/** Most operations in a push. */
const MAX_OPERATIONS = 10_000

/** Most characters of `push.client`. */
const MAX_CLIENT = 64

/**
 * @param maxDepth most levels of nesting in a value, which also bound the length of a pointer
 * @throws MalformedPush if the frame has another shape
 * @throws PatchError if the patches are not RFC 6902; DatasoleError `LIMIT_EXCEEDED` if there are too many
 */
export function parsePush (key: string, mode: ChannelMode, message: Record<string, unknown>, size: number, maxDepth: number): Push {
  const { client, seq } = (message.push ?? {}) as { client?: unknown, seq?: unknown }
  if (typeof client !== 'string' || client === '' || client.length > MAX_CLIENT) throw new MalformedPush(`the member "push.client" is not a string of 1 to ${MAX_CLIENT} characters`)
  if (!Number.isSafeInteger(seq) || (seq as number) < 1) throw new MalformedPush('the member "push.seq" is not a whole number from 1')
  const { epoch = '', base = 0, patches, data } = message
  const common = { key, client, seq: seq as number, size }
  if (mode === 'snapshot') {
    if (data === undefined) throw new PatchError('this channel takes whole values, as "data"')
    return { ...common, epoch: '', base: 0, patches: undefined, data }
  }
  if (typeof epoch !== 'string') throw new MalformedPush('the member "epoch" is not a string')
  if (!Number.isSafeInteger(base) || (base as number) < 0) throw new MalformedPush('the member "base" is not a whole number from 0')
  if (patches === undefined) throw new PatchError('this channel takes patches')
  if (Array.isArray(patches) && patches.length > MAX_OPERATIONS) throw new DatasoleError('LIMIT_EXCEEDED', `a push has at most ${MAX_OPERATIONS} operations`)
  const operations = parsePatch(patches)
  for (const operation of operations) {
    checkPointer(operation.path, maxDepth)
    if ('from' in operation) checkPointer(operation.from, maxDepth)
  }
  return { ...common, epoch, base: base as number, patches: operations, data: undefined }
}

/** Refuses a pointer that is longer than any value is deep, because following it would only cost time. */
function checkPointer (pointer: string, maxDepth: number): void {
  let segments = 0
  for (let at = pointer.indexOf('/'); at !== -1; at = pointer.indexOf('/', at + 1)) segments++
  if (segments > maxDepth + 1) throw new PatchError(`a path has more than ${maxDepth + 1} segments`)
}
