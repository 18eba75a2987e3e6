import type { BroadcastData, EventMap, EventName, HandlerErrors, HandlerParams, HandlerResult, ReceivedData, RpcMap, RpcName, SentData, StateName, StateAt } from '../../protocol/contract.js'
import { DatasoleError, invalidArgument } from '../../protocol/errors.js'
import { isObject } from '../config/checks.js'
import type { EventHandler, Events } from '../events/events.js'
import type { Fanout } from '../events/fanout.js'
import type { Scope } from '../scope/scope.js'
import type { Target } from '../connection/hub.js'
import type { RpcHandler, RpcOptions } from '../rpc/method.js'
import type { RpcRegistry } from '../rpc/rpc.js'
import type { Channels } from './channels.js'
import type { SyncChannel, SyncChannelOptions } from './sync-channel.js'

/** The part of a contract's names after `key.`; any name if the contract is open. */
type Under<Name extends string, K extends string> = string extends Name ? string : Name extends `${K}.${infer Rest}` ? Rest : never
type Full<C, K extends string, N extends string> = `${K}.${N}` & (RpcName<C> | EventName<C>)
type Value<C, K extends string> = K extends StateName<C> ? StateAt<C, K> : unknown

type MethodNames<C, K extends string> = Under<keyof RpcMap<C> & string, K>
type EventNames<C, K extends string> = Under<keyof EventMap<C> & string, K>
type Params<C, N> = N extends RpcName<C> ? HandlerParams<C, N> : unknown
type Result<C, N> = N extends RpcName<C> ? HandlerResult<C, N> : unknown
type Errors<C, N> = N extends RpcName<C> ? HandlerErrors<C, N> : Record<string, unknown>
type Received<C, N> = N extends EventName<C> ? ReceivedData<C, N> : unknown
type Sent<C, N> = N extends EventName<C> ? SentData<C, N> : unknown
type Broadcast<C, N> = N extends EventName<C> ? BroadcastData<C, N> : unknown

/** A method's handler, or the handler with the options of `rpc.register`. */
export type DataChannelMethod<P, R, E = Record<string, unknown>> = RpcHandler<P, R, E> | (RpcOptions & { handler: RpcHandler<P, R, E> })

/** Options of `live.createDataChannel`. */
export interface DataChannelOptions<C, K extends string> {
  /** The key of the state, and the prefix of the names of methods and events: `key.name`. */
  key: K
  /** A sync channel under the key. */
  state?: Omit<SyncChannelOptions<Value<C, K>, K>, 'key'>
  /** Methods that clients call as `key.name`. */
  rpc?: { [N in MethodNames<C, K>]?: DataChannelMethod<Params<C, Full<C, K, N>>, Result<C, Full<C, K, N>>, Errors<C, Full<C, K, N>>> }
  /** Handlers of the events `key.name` of clients and other nodes. */
  events?: { [N in EventNames<C, K>]?: EventHandler<Received<C, Full<C, K, N>>> }
}

/** The parts of the server that a data channel uses. */
export interface DataChannelParts { readonly rpc: RpcRegistry, readonly events: Events, readonly fanout: Fanout, readonly channels: Channels }

/** Methods, events and state of one key, with one `close()`. */
export class DataChannel<C = unknown, K extends string = string> {
  /** The key of the state, and the prefix of names. */
  readonly key: K
  /** The sync channel, if the options have `state`. */
  readonly state: SyncChannel<Value<C, K>, Value<C, K> | undefined> | undefined
  readonly #parts: DataChannelParts
  readonly #scope: Scope
  readonly #undo: (() => void)[] = []

  /** @internal */
  constructor (parts: DataChannelParts, options: DataChannelOptions<C, K>, scope: Scope) {
    if (!isObject(options)) throw invalidArgument('createDataChannel: the options must be an object')
    const { key, state, rpc = {}, events = {}, ...rest } = options
    if (typeof key !== 'string') throw invalidArgument('createDataChannel: the key must be a string')
    const [unknown] = Object.keys(rest)
    if (unknown !== undefined) throw new DatasoleError('INVALID_OPTION', `createDataChannel("${key}"): option ${unknown} is not an option of a data channel`)
    if (parts.channels.composed.has(key)) throw new DatasoleError('DUPLICATE_KEY', `createDataChannel("${key}"): the key already has a data channel`)
    this.key = key
    this.#parts = parts
    this.#scope = scope
    try {
      for (const [name, method] of Object.entries(rpc) as [string, DataChannelMethod<unknown, unknown>][]) this.#method(`${key}.${name}`, method, scope)
      for (const [name, handler] of Object.entries(events) as [string, EventHandler][]) {
        this.#undo.push(parts.events.on(`${key}.${name}`, handler, scope))
      }
      // last, because clients would notice if it were undone
      if (state !== undefined) this.state = parts.channels.create({ ...state, key } as SyncChannelOptions, scope) as SyncChannel<Value<C, K>, Value<C, K> | undefined>
    } catch (error) {
      this.#end()
      throw error
    }
    parts.channels.composed.set(key, this)
  }

  /**
   * Sends the event `key.name` to clients.
   * @param name the event, without the key
   * @param data plain JSON
   * @param target connections, users or tags to send to, or to exclude. Default: everyone
   * @throws as `fanout.broadcast`
   */
  broadcast<N extends EventNames<C, K>> (name: N, data: Broadcast<C, Full<C, K, N>>, target?: Target): void {
    this.#parts.fanout.broadcast(`${this.key}.${name}`, data, target, this.#scope)
  }

  /**
   * Sends the event `key.name` to the handlers of every node.
   * @param name the event, without the key
   * @param data plain JSON
   * @throws as `events.emit`
   */
  emit<N extends EventNames<C, K>> (name: N, data: Sent<C, Full<C, K, N>>): void {
    this.#parts.events.emit(`${this.key}.${name}`, data, this.#scope)
  }

  /** Removes methods and handlers, flushes the state, and closes its channel. */
  async close (): Promise<void> {
    if (this.#parts.channels.composed.get(this.key) !== this) return
    this.#parts.channels.composed.delete(this.key)
    this.#end()
    await this.state?.close()
  }

  #method (name: string, method: DataChannelMethod<unknown, unknown>, scope: Scope): void {
    const { handler, ...options } = typeof method === 'function' ? { handler: method } : { ...method }
    this.#parts.rpc.register(name, options, handler, scope)
    this.#undo.push(() => { this.#parts.rpc.unregister(name) })
  }

  #end (): void {
    for (const undo of this.#undo.splice(0)) undo()
  }
}
