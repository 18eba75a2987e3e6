import { type Schema, isSchema } from '../../contract/schema.js'
import type { CrdtType } from '../../crdt/crdt.js'
import { isCrdtType } from '../../crdt/types.js'
import { DatasoleError, invalidArgument } from '../../protocol/errors.js'
import type { ChannelDirection, ChannelMode, Operation } from '../../protocol/messages.js'
import type { Unsubscribe } from '../../protocol/unsubscribe.js'
import type { ConnectionContext } from '../context/connection-context.js'
import type { FlushHandler } from './flush-handlers.js'
import { type FlushOptions, type FlushRule, resolveFlush } from './flush-strategy.js'
import type { PushValidator } from './push-check.js'

/** Options of `live.createSyncChannel`. */
export interface SyncChannelOptions<T = unknown, K extends string = string> {
  /** The key that clients use. Its value is that of `live.getState(key)`, unless each connection has its own. */
  key: K
  /** The writers: only the server, each client its own value, or all of them the same value. */
  direction: ChannelDirection
  /** The form of updates: `json-patch` sends differences, `snapshot` whole values, `crdt` operations that merge. */
  mode: ChannelMode
  /** When updates are sent. Default: at once. */
  flush?: FlushOptions
  /** The first value, committed if the key has none. For `client-to-server`: the first value of each connection. */
  initialValue?: T
  /** Schema of the value after a push, else `INVALID_VALUE`. A key of the contract has its schema there, not here. */
  schema?: Schema
  /** Checks the value after a push, synchronously. Use a `prePush` hook for asynchronous checks. */
  validate?: PushValidator<T>
  /**
   * Most bytes of JSON in the value after a push, else `LIMIT_EXCEEDED`. Default `maxStateBytes`; for
   * `client-to-server` 256 KiB, or `maxStateBytes` if that is less.
   */
  maxBytes?: number
  /**
   * The CRDT type, for mode `crdt`. Default: `pn-counter` if `initialValue` is a number, `lww-map` if it is an object,
   * else `lww-register`. A channel cannot be `yjs`.
   */
  type?: Exclude<CrdtType, 'yjs'>
}

/**
 * State with rules for who writes it, how updates are sent, and when. `Draft` is the draft of a recipe. Without an
 * `initialValue` it may be undefined.
 */
export interface SyncChannel<T = unknown, Draft = T> {
  /** The key that clients use. */
  readonly key: string
  /** As in the options. */
  readonly direction: ChannelDirection
  /** As in the options. */
  readonly mode: ChannelMode
  /**
   * Reads the committed value.
   * @param connection for `client-to-server`: the connection whose value is read. Default: the initial value
   * @returns a copy
   */
  get (connection?: ConnectionContext): Promise<T | undefined>
  /**
   * Commits a value, as `live.setState`.
   * @param value plain JSON
   * @returns the committed JSON Patch (RFC 6902)
   * @throws DatasoleError `WRONG_DIRECTION` if only clients write
   */
  set (value: T): Promise<Operation[]>
  /**
   * Commits the changes that a recipe makes to a draft, as `live.update`.
   * @param recipe changes the draft, or returns a new value
   * @returns the committed JSON Patch (RFC 6902)
   * @throws DatasoleError `WRONG_DIRECTION` if only clients write
   */
  update (recipe: (draft: Draft) => T | void): Promise<Operation[]>
  /** Sends the pending changes now. Resolves when the handlers have run. */
  flush (): Promise<void>
  /**
   * Calls the handler at every flush on this node, one call after the other. Changes that arrive while an asynchronous
   * handler runs are joined into the next flush.
   * @param handler gets the value, the patches, and the connection that changed it, or null
   * @returns removes the handler
   */
  onFlush (handler: FlushHandler<T>): Unsubscribe
  /**
   * Flushes, and closes the channel. A shared value stays as live state, which only the root's hooks guard from then
   * on. `live.deleteState` deletes it.
   */
  close (): Promise<void>
}

/** Options with every default applied. */
export interface ChannelSettings extends Omit<SyncChannelOptions, 'flush'> {
  flush: FlushRule
  maxBytes: number
}

/** Default bound (bytes) of a connection's own value. */
const COPY_BYTES = 256 * 1024

const OPTIONS = ['key', 'direction', 'mode', 'flush', 'initialValue', 'schema', 'validate', 'maxBytes', 'type']
const DIRECTIONS: readonly ChannelDirection[] = ['server-to-client', 'client-to-server', 'bidirectional']
const MODES: readonly ChannelMode[] = ['json-patch', 'snapshot', 'crdt']

/** @throws DatasoleError `INVALID_OPTION`, naming the option */
export function resolveChannel (options: SyncChannelOptions, maxStateBytes: number): ChannelSettings {
  if (typeof options !== 'object' || options === null) throw invalidArgument('createSyncChannel: the options must be an object')
  const { key, direction, mode, flush = { flushStrategy: 'immediate' }, schema, validate } = options
  const refuse = (option: string, why: string): never => {
    throw new DatasoleError('INVALID_OPTION', `createSyncChannel(${typeof key === 'string' ? JSON.stringify(key) : ''}): option ${option} ${why}`)
  }
  if (typeof key !== 'string') refuse('key', 'must be a string')
  for (const name of Object.keys(options)) if (!OPTIONS.includes(name)) refuse(name, 'is not an option of a sync channel')
  if (!DIRECTIONS.includes(direction)) refuse('direction', `must be one of ${DIRECTIONS.join(', ')}`)
  if (!MODES.includes(mode)) refuse('mode', `must be one of ${MODES.join(', ')}`)
  if (schema !== undefined && !isSchema(schema)) refuse('schema', 'must be a schema')
  if (validate !== undefined && typeof validate !== 'function') refuse('validate', 'must be a function')
  if (mode === 'crdt') {
    for (const name of ['schema', 'validate'] as const) if (options[name] !== undefined) refuse(name, 'is not for mode crdt: check operations in a prePush hook')
    if (options.maxBytes !== undefined && direction !== 'client-to-server') refuse('maxBytes', 'is for values that clients push')
    if (options.type !== undefined && (!isCrdtType(options.type) || (options.type as CrdtType) === 'yjs')) refuse('type', 'must be pn-counter, lww-register or lww-map')
  } else if (options.type !== undefined) {
    refuse('type', 'is only for mode crdt')
  }
  const most = direction === 'client-to-server' ? COPY_BYTES : maxStateBytes
  const { maxBytes = Math.min(most, maxStateBytes) } = options
  if (!Number.isInteger(maxBytes) || maxBytes < 1 || maxBytes > maxStateBytes) refuse('maxBytes', `must be a whole number from 1 to maxStateBytes (${maxStateBytes})`)
  return { ...options, flush: resolveFlush(flush, refuse), maxBytes }
}
