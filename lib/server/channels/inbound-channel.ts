import type { CrdtType } from '../../crdt/crdt.js'
import { DatasoleError } from '../../protocol/errors.js'
import { clonePlain } from '../../protocol/json.js'
import type { ChannelDirection, ChannelInfo, ChannelMode } from '../../protocol/messages.js'
import type { Unsubscribe } from '../../protocol/unsubscribe.js'
import type { Connection } from '../connection/connection.js'
import type { ConnectionContext, MessageContext } from '../context/connection-context.js'
import { PrivateJson, type PrivateHost, type PrivateValue } from './private-json.js'
import { PrivateCrdt } from './private-crdt.js'
import type { CrdtSinkChannel } from '../crdts/crdts.js'
import { type FlushHandler, FlushHandlers } from './flush-handlers.js'
import type { FlushRule } from './flush-strategy.js'
import type { Scope } from '../scope/scope.js'
import type { KeyChannel } from '../keys/key-channel.js'
import type { Push } from './push.js'
import type { PushCheck } from './push-check.js'
import type { PushId } from '../store/push-ledger.js'
import type { PushOutcome } from './push-write.js'
import type { ChannelHost } from './shared-channel.js'
import type { Source } from '../keys/subscription.js'
import type { ChannelSettings, SyncChannel } from './sync-channel.js'

/** A channel `client-to-server`: each connection writes its own value, and the server's handlers get it. */
abstract class PrivateChannel<Own extends PrivateValue> implements SyncChannel, KeyChannel, PrivateHost {
  readonly key: string
  readonly direction: ChannelDirection
  readonly mode: ChannelMode
  readonly info: ChannelInfo
  readonly rule: FlushRule
  readonly handlers: FlushHandlers
  readonly initialValue: unknown
  abstract readonly takesPushes: boolean
  readonly #host: ChannelHost
  readonly #copies = new Map<ConnectionContext, Own>()
  #isClosed = false

  constructor (host: ChannelHost, { key, direction, mode, flush, initialValue }: ChannelSettings, readonly check: PushCheck, readonly scope: Scope) {
    this.#host = host
    this.key = key
    this.direction = direction
    this.mode = mode
    this.info = { direction, mode }
    this.rule = flush
    this.initialValue = initialValue
    this.handlers = new FlushHandlers(key, host.log)
  }

  get compressionThreshold (): number { return this.#host.subscriptions.compressionThreshold }

  get isIdle (): boolean { return this.handlers.running === 0 }

  async open (): Promise<void> {} // a copy is created when its connection first needs it

  async get (connection?: ConnectionContext): Promise<unknown> {
    const copy = connection && this.#copies.get(connection)
    return copy === undefined ? clonePlain(this.initialValue) : copy.value
  }

  async set (): Promise<never> {
    throw new DatasoleError('WRONG_DIRECTION', `channel "${this.key}" is client-to-server: only clients write it`)
  }

  update (): Promise<never> {
    return this.set()
  }

  async flush (): Promise<void> {
    await Promise.all(Array.from(this.#copies.values(), (copy) => copy.flush()))
  }

  onFlush (handler: FlushHandler): Unsubscribe {
    return this.handlers.add(handler)
  }

  async close (): Promise<void> {
    if (this.#isClosed) return
    this.#isClosed = true
    const flushed = this.flush()
    this.#host.closed(this.key)
    this.#copies.clear()
    await flushed
  }

  source ({ context }: Connection): Source {
    return this.copyOf(context)
  }

  /** Flushes the pending changes of a connection that has ended. */
  disconnected ({ context }: Connection): void {
    const copy = this.#copies.get(context)
    this.#copies.delete(context)
    void copy?.flush()
  }

  protected abstract make (connection: ConnectionContext): Own

  protected copyOf (connection: ConnectionContext): Own {
    let copy = this.#copies.get(connection)
    if (copy === undefined) this.#copies.set(connection, copy = this.make(connection))
    return copy
  }
}

/** A channel whose values are JSON, written by pushes. */
export class InboundChannel extends PrivateChannel<PrivateJson> {
  readonly takesPushes = true

  before (): undefined {} // a copy is in memory or does not exist, so a push need not wait

  push (push: Push, _id: PushId, ctx: MessageContext, outcome: PushOutcome): void {
    const copy = this.copyOf(ctx.connection)
    let head
    try {
      head = copy.push(push, ctx)
    } catch (error) {
      return outcome.failed(error)
    }
    outcome.done(head)
    copy.changed()
  }

  protected make (connection: ConnectionContext): PrivateJson {
    return new PrivateJson(this, connection)
  }
}

/** A channel whose values are CRDTs, written by operations. */
export class InboundCrdtChannel extends PrivateChannel<PrivateCrdt> implements CrdtSinkChannel {
  readonly takesPushes = false
  readonly #type: CrdtType

  constructor (host: ChannelHost, settings: ChannelSettings, type: CrdtType, check: PushCheck, scope: Scope) {
    super(host, settings, check, scope)
    this.#type = type
  }

  sinkFor (connection: ConnectionContext): PrivateCrdt { return this.copyOf(connection) }

  protected make (connection: ConnectionContext): PrivateCrdt {
    return new PrivateCrdt(this, connection, this.#type)
  }
}
