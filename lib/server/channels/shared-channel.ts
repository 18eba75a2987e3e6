import { setTimeout } from 'node:timers/promises'
import { clonePlain } from '../../protocol/json.js'
import type { ChannelDirection, ChannelInfo, ChannelMode, Head, Operation } from '../../protocol/messages.js'
import type { MessageContext } from '../connection-context.js'
import { type FlushHandler, FlushHandlers, FlushLine, type Flushed } from './flush-handlers.js'
import { FlushClock } from './flush-strategy.js'
import type { Scope } from '../hooks.js'
import type { KeyChannel } from '../state/key-channel.js'
import type { LiveState } from '../state/live-state.js'
import type { Logger } from '../logger.js'
import type { Push } from './push.js'
import type { PushCheck } from './push-check.js'
import type { PushId } from './push-ledger.js'
import { type PushOutcome, PushWrite } from './push-write.js'
import type { Replica } from '../state/replica.js'
import type { StateStore } from '../state/state-store.js'
import type { ChannelSettings, SyncChannel } from './sync-channel.js'
import type { Recipe } from '../state/write.js'

/** ms before a channel that could not be opened is tried again. */
const RETRY = 1000

/** What every channel works with. */
export interface ChannelHost {
  readonly store: StateStore
  readonly live: LiveState
  readonly log: Logger
  /** The channel has ended: its key is free. */
  closed (key: string): void
}

/**
 * A channel whose value all clients share: `server-to-client` or `bidirectional`. The value is live state
 * like any other, committed when it is written; the channel holds back its fan-out and its handlers.
 */
export class SharedChannel implements SyncChannel, KeyChannel {
  readonly key: string
  readonly direction: ChannelDirection
  readonly mode: ChannelMode
  readonly info: ChannelInfo
  readonly #host: ChannelHost
  readonly #initialValue: unknown
  readonly #handlers: FlushHandlers
  readonly #line: FlushLine
  readonly #clock: FlushClock
  #replica: Replica | undefined
  /** The version that subscribers were given last, while newer ones wait; -1 where no patch leads on from it. */
  #from: number | undefined
  /** Where the handlers are. */
  #told: Head | undefined
  #isClosed = false

  constructor (host: ChannelHost, { key, direction, mode, flush, initialValue }: ChannelSettings, readonly check: PushCheck, readonly scope: Scope) {
    this.#host = host
    this.key = key
    this.info = { direction, mode }
    this.direction = direction
    this.mode = mode
    this.#initialValue = initialValue
    this.#handlers = new FlushHandlers(key, host.log)
    this.#line = new FlushLine(this.#handlers, null, () => this.#take())
    this.#clock = new FlushClock(flush, () => { this.#flush() })
  }

  get isIdle (): boolean { return this.#handlers.running === 0 }

  get takesPushes (): boolean { return this.direction === 'bidirectional' }

  /** Sees that the key is live and has its first value. Never rejects: it is tried until the backend takes it. */
  async open (): Promise<void> {
    for (let isSaid = false; !this.#isClosed; await setTimeout(RETRY, undefined, { ref: false })) {
      try {
        await this.#host.store.update(this.key, (draft) => draft === undefined ? this.#initialValue : undefined, true)
        const { epoch, version } = this.#replica = await this.#host.store.replica(this.key)
        this.#told ??= { epoch, version }
        return
      } catch (error) {
        if (!isSaid) this.#host.log.error({ err: error, key: this.key }, 'a channel could not be opened; it is tried again until it can')
        isSaid = true
      }
    }
  }

  get (): Promise<unknown> {
    return this.#host.store.get(this.key)
  }

  set (value: unknown): Promise<Operation[]> {
    return this.#host.store.set(this.key, value, true)
  }

  update (recipe: Recipe<unknown>): Promise<Operation[]> {
    return this.#host.store.update(this.key, recipe, true)
  }

  flush (): Promise<void> {
    this.#clock.flush()
    return this.#line.settled()
  }

  onFlush (handler: FlushHandler): () => void {
    return this.#handlers.add(handler)
  }

  async close (): Promise<void> {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#clock.flush()
    this.#host.closed(this.key)
    await this.#line.settled()
  }

  moved (replica: Replica, from: number): void {
    this.#replica = replica
    if (this.#from === undefined || from === -1) this.#from = from
    this.#clock.changed(from === -1 ? 1 : replica.version - from)
  }

  /** What a push has to wait for: a client may have come from a node that is ahead of this one. */
  before ({ key, epoch, base }: Push): Promise<void> | undefined {
    const replica = this.#replica
    return replica !== undefined && epoch === replica.epoch && base > replica.version ? this.#host.store.refresh(key) : undefined
  }

  push (push: Push, id: PushId, ctx: MessageContext, outcome: PushOutcome): void {
    this.#host.store.write(this.key, new PushWrite(push, id, this.check, ctx, outcome))
  }

  disconnected (): void {} // the value is nobody's own

  #flush (): void {
    const from = this.#from
    this.#from = undefined
    if (from !== undefined) this.#host.live.publish(this.key, from)
    this.#line.due()
  }

  #take (): Flushed | undefined {
    const replica = this.#replica
    if (replica === undefined) return undefined
    const { epoch, version, document, live } = replica
    const told = this.#told
    this.#told = { epoch, version }
    if (this.#handlers.size === 0 || (told?.epoch === epoch && told.version === version)) return undefined
    if (version === 0) return { value: undefined, patches: [{ op: 'remove', path: '' }] }
    const value = clonePlain(document.value)
    const since = this.mode === 'snapshot' || told === undefined || !live ? undefined : replica.patchesSince(told)
    return { value, patches: since === undefined ? [{ op: 'replace', path: '', value }] : JSON.parse(since) as Operation[] }
  }
}
