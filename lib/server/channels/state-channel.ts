import { clonePlain } from '../../protocol/json.js'
import type { Head, Operation } from '../../protocol/messages.js'
import type { MessageContext } from '../context/connection-context.js'
import type { Flushed } from './flush-handlers.js'
import type { Scope } from '../scope/scope.js'
import type { Push } from './push.js'
import type { PushCheck } from './push-check.js'
import type { PushId } from '../store/push-ledger.js'
import { type PushOutcome, PushWrite } from './push-write.js'
import { type ChannelHost, SharedChannel } from './shared-channel.js'
import type { StateStore } from '../store/state-store.js'
import type { ChannelSettings } from './sync-channel.js'
import type { Recipe } from '../store/write.js'

/** A shared channel whose value is live state. */
export class StateChannel extends SharedChannel {
  /** The version of the last flush to the handlers. */
  #lastFlushed: Head | undefined

  constructor (host: ChannelHost, settings: ChannelSettings, readonly check: PushCheck, scope: Scope) {
    super(host, settings, scope)
  }

  protected override get store (): StateStore { return this.host.storesOf(this.scope).state }

  get takesPushes (): boolean { return this.direction === 'bidirectional' }

  get (): Promise<unknown> {
    this.host.use(this.key)
    return this.store.get(this.key)
  }

  set (value: unknown): Promise<Operation[]> {
    this.host.use(this.key)
    return this.store.set(this.key, value, true)
  }

  update (recipe: Recipe<unknown>): Promise<Operation[]> {
    this.host.use(this.key)
    return this.store.update(this.key, recipe, true)
  }

  /** A promise that a push waits for if its client knows a newer version, from another node. */
  before ({ key, epoch, base }: Push): Promise<void> | undefined {
    const { replica } = this
    return replica !== undefined && epoch === replica.epoch && base > replica.version ? this.store.refresh(key) : undefined
  }

  push (push: Push, id: PushId, ctx: MessageContext, outcome: PushOutcome): void {
    this.store.write(this.key, new PushWrite(push, id, this.check, ctx, outcome))
  }

  protected async start (): Promise<void> {
    await this.store.update(this.key, (draft) => draft === undefined ? this.initialValue : undefined, true)
    const { epoch, version } = this.replica = await this.store.replica(this.key)
    this.#lastFlushed ??= { epoch, version }
  }

  protected take (): Flushed | undefined {
    const { replica } = this
    if (replica === undefined) return undefined
    const { epoch, version, document, live } = replica
    const lastFlushed = this.#lastFlushed
    this.#lastFlushed = { epoch, version }
    if (this.handlers.size === 0 || (lastFlushed?.epoch === epoch && lastFlushed.version === version)) return undefined
    if (version === 0) return { value: undefined, patches: [{ op: 'remove', path: '' }] }
    const value = clonePlain(document.value)
    const since = this.mode === 'snapshot' || lastFlushed === undefined || !live ? undefined : replica.patchesSince(lastFlushed)
    return { value, patches: since === undefined ? [{ op: 'replace', path: '', value }] : JSON.parse(since) as Operation[] }
  }
}
