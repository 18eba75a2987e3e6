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
  /** The key under which clients find it; its value is that of `live.getState(key)`, unless each connection has its own. */
  key: K
  /** Who writes: the server, each client a value of its own, or both the same value. */
  direction: ChannelDirection
  /** The updates: `json-patch` sends differences, `snapshot` whole values, `crdt` operations that merge. */
  mode: ChannelMode
  /** Default: at once. */
  flush?: FlushOptions
  /** Committed where the key has no value yet; for `client-to-server`, what each connection's copy begins with. */
  initialValue?: T
  /** Schema of the value that a push would make, of any library; else the push is refused with `INVALID_VALUE`. For a key of the contract it is there. */
  schema?: Schema
  /** The same in code. What has to wait belongs into a `prePush` hook. */
  validate?: PushValidator<T>
  /**
   * Bytes of JSON that pushes can make the value grow to; else `LIMIT_EXCEEDED`. Default `maxStateBytes`;
   * for `client-to-server`, where each connection has its own, 256 KiB.
   */
  maxBytes?: number
  /** For mode `crdt`. Default: a `pn-counter` where `initialValue` is a number, an `lww-map` where it is an object, else an `lww-register`. A document of Yjs is no channel's. */
  type?: Exclude<CrdtType, 'yjs'>
}

/**
 * State that flows by rules of its own: who writes, what travels, and when.
 * `Draft` is what a recipe gets: without an `initialValue` there may be no value yet.
 */
export interface SyncChannel<T = unknown, Draft = T> {
  /** The key under which clients find it. */
  readonly key: string
  /** As in the options. */
  readonly direction: ChannelDirection
  /** As in the options. */
  readonly mode: ChannelMode
  /**
   * The committed value, as a copy of your own. For `client-to-server`: that of a connection, or, without
   * one, what copies begin with.
   */
  get (connection?: ConnectionContext): Promise<T | undefined>
  /**
   * Commits a value, as `live.setState`.
   * @param value plain JSON
   * @returns the JSON Patch (RFC 6902) that was committed
   * @throws DatasoleError `WRONG_DIRECTION` where only clients write
   */
  set (value: T): Promise<Operation[]>
  /**
   * Commits what a recipe does to a draft, as `live.update`.
   * @param recipe changes the draft, or returns a new value
   * @returns the JSON Patch (RFC 6902) that was committed
   * @throws DatasoleError `WRONG_DIRECTION` where only clients write
   */
  update (recipe: (draft: Draft) => T | void): Promise<Operation[]>
  /** Sends the pending changes now. Resolves once the handlers have run. */
  flush (): Promise<void>
  /**
   * Calls the handler at every flush on this node, one after the other. Changes that come while an asynchronous
   * handler works are joined into the next flush.
   * @returns removes the handler
   */
  onFlush (handler: FlushHandler<T>): Unsubscribe
  /**
   * Flushes, and ends the channel. A shared value stays, as live state, which only the root's hooks guard
   * from then on; `live.deleteState` takes it away.
   */
  close (): Promise<void>
}

/** Options with every default applied. */
export interface ChannelSettings extends Omit<SyncChannelOptions, 'flush'> {
  flush: FlushRule
  maxBytes: number
}

/** Bytes of a connection's copy. */
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
    for (const name of ['schema', 'validate'] as const) if (options[name] !== undefined) refuse(name, 'is not for mode crdt: look at operations in a prePush hook')
    if (options.maxBytes !== undefined && direction !== 'client-to-server') refuse('maxBytes', 'is for values that clients push')
    if (options.type !== undefined && (!isCrdtType(options.type) || (options.type as CrdtType) === 'yjs')) refuse('type', 'must be pn-counter, lww-register or lww-map')
  } else if (options.type !== undefined) {
    refuse('type', 'is for mode crdt')
  }
  const most = direction === 'client-to-server' ? COPY_BYTES : maxStateBytes
  const { maxBytes = Math.min(most, maxStateBytes) } = options
  if (!Number.isInteger(maxBytes) || maxBytes < 1 || maxBytes > maxStateBytes) refuse('maxBytes', `must be a whole number from 1 to maxStateBytes (${maxStateBytes})`)
  return { ...options, flush: resolveFlush(flush, refuse), maxBytes }
}
