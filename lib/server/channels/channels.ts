import { createHash } from 'node:crypto'
import { setImmediate } from 'node:timers/promises'
import { DatasoleError, messageOf } from '../../protocol/errors.js'
import { copyJson } from '../../protocol/json.js'
import type { ErrorMessage } from '../../protocol/messages.js'
import { Opcode } from '../../protocol/opcodes.js'
import { PatchError } from '../../protocol/patch.js'
import type { ErrorCode } from '../../protocol/codes.js'
import type { Connection } from '../connection/connection.js'
import type { ContractChecks } from '../contract/contract-checks.js'
import { CrdtChannel } from './crdt-channel.js'
import { crdtTypeFor } from '../crdts/crdt-values.js'
import type { Crdts } from '../crdts/crdts.js'
import { type Scope, runHooks } from '../scope/scope.js'
import { Refusal } from '../errors/refusal.js'
import { HookThrew, refusalOf } from '../errors/thrown.js'
import { InboundChannel, InboundCrdtChannel } from './inbound-channel.js'
import { Budget } from '../connection/budget.js'
import type { FrameHandler } from '../connection/frame-handler.js'
import { InboundQueue } from '../connection/inbound-queue.js'
import { type Members, parsePayload, requireName } from '../connection/payload.js'
import type { KeyRegistry } from '../keys/registry.js'
import type { Subscriptions } from '../keys/subscriptions.js'
import type { Logger } from '../context/logger.js'
import type { Metrics } from '../metrics/metrics.js'
import { MalformedPush, type Push, parsePush } from './push.js'
import { PushCheck } from './push-check.js'
import type { PushOutcome } from './push-write.js'
import type { Settings } from '../config/settings.js'
import type { ChannelHost } from './shared-channel.js'
import { StateChannel } from './state-channel.js'
import type { Storage } from '../store/storage.js'
import type { Storages } from '../store/storages.js'
import { type ChannelSettings, type SyncChannelOptions, resolveChannel } from './sync-channel.js'
import type { Part } from '../lifecycle/part.js'
import { until } from '../lifecycle/until.js'

/** `retryAfter` (ms) if too many pushes of a client wait; below, if the backend is unavailable. */
const RETRY = 100
const AWAY = 1000

/** Codes of errors that a client gets as they are. */
const REFUSALS: readonly string[] = ['CONFLICT', 'FORBIDDEN', 'UNKNOWN_KEY', 'INVALID_VALUE', 'LIMIT_EXCEEDED', 'INTERNAL'] satisfies ErrorCode[]

/** The name of the call that creates a channel, for errors. */
const CREATE = 'createSyncChannel'

/** A STATE_PUSH. */
type PushMessage = Members & { readonly key: string }

type Channel = StateChannel | InboundChannel | CrdtChannel | InboundCrdtChannel

/** The state of a connection that pushes. */
interface Writer {
  client: string
  /** The id in the push ledger. Other clients can neither guess it nor derive it from stored data. */
  readonly id: string
  readonly budget: Budget
  /** Set while pushes wait for a hook. */
  line: InboundQueue | undefined
}

/** The sync channels of a node. Receives pushes and passes them to their channels. */
export class Channels implements ChannelHost, Part {
  /** Data channels by key. Their state is one of the channels below. */
  readonly composed = new Map<string, unknown>()
  readonly #channels = new Map<string, Channel>()
  readonly #writers = new Map<Connection, Writer>()
  /** True after an error was logged, so that it is logged once per outage. */
  #isStoreAway = false

  readonly #storages: Storages
  readonly #contract: ContractChecks
  readonly #isOpen: (scope: Scope) => boolean
  readonly #opened = new WeakSet<Channel>()

  /** @param isOpen whether the storage of a scope is known and can be used; if not, `opened` is called later */
  constructor (readonly settings: Settings, readonly keys: KeyRegistry, readonly subscriptions: Subscriptions, readonly crdts: Crdts, storages: Storages, contract: ContractChecks, isOpen: (scope: Scope) => boolean, readonly metrics: Metrics, readonly log: Logger) {
    this.#storages = storages
    this.#contract = contract
    this.#isOpen = isOpen
  }

  storesOf (scope: Scope): Storage {
    return this.#storages.of(scope, 'a channel')
  }

  /** @throws DatasoleError `INVALID_OPTION`, `DUPLICATE_KEY` */
  create (options: SyncChannelOptions, scope: Scope): Channel {
    const settings = resolveChannel(options, this.settings.maxStateBytes)
    const { key, initialValue, schema, validate, maxBytes } = settings
    if (this.#channels.has(key)) throw new DatasoleError('DUPLICATE_KEY', `${CREATE}("${key}"): the key already has a channel`)
    const { maxJsonDepth } = this.settings
    if (initialValue !== undefined) settings.initialValue = copyJson(initialValue, maxJsonDepth)
    const contract = settings.mode === 'crdt' ? this.#contract.channelState(key) : this.#contract.state(key)
    if (schema !== undefined && contract !== undefined) throw new DatasoleError('INVALID_OPTION', `${CREATE}("${key}"): option schema: the contract already has the schema of this key`)
    if (settings.initialValue !== undefined) contract?.(settings.initialValue, [''])
    const check = new PushCheck(this, key, scope, maxBytes, schema, validate, settings.direction === 'client-to-server' ? contract : undefined)
    // otherwise `opened` opens the channel later
    const isUsable = this.#isOpen(scope)
    if (isUsable) check.compile()
    const channel = settings.mode === 'crdt' ? this.#createCrdt(settings, check, scope) : this.#createJson(settings, check, scope)
    this.#channels.set(key, channel)
    if (isUsable) this.#open(channel)
    return channel
  }

  #createJson (settings: ChannelSettings, check: PushCheck, scope: Scope): StateChannel | InboundChannel {
    const channel = new (settings.direction === 'client-to-server' ? InboundChannel : StateChannel)(this, settings, check, scope)
    this.keys.attach(settings.key, 'json', channel, CREATE)
    return channel
  }

  #createCrdt (settings: ChannelSettings, check: PushCheck, scope: Scope): CrdtChannel | InboundCrdtChannel {
    const { key, type = crdtTypeFor(settings.initialValue) } = settings
    const { crdts } = this
    const isShared = settings.direction !== 'client-to-server'
    const channel = isShared ? new CrdtChannel(this, crdts, settings, type, check.maxDepth, this.#contract.channelState(key), scope) : new InboundCrdtChannel(this, settings, type, check, scope)
    if (isShared) crdts.register(key, type, scope, true)
    this.keys.attach(key, 'crdt', channel, CREATE)
    return channel
  }

  get (key: string): Channel | undefined {
    return this.#channels.get(key)
  }

  use (key: string): void {
    const channel = this.#channels.get(key)
    if (channel !== undefined) this.#open(channel)
  }

  closed (key: string): void {
    const { mode, scope } = this.#channels.get(key)!
    this.#channels.delete(key)
    this.keys.detach(key)
    const { state, crdt } = this.storesOf(scope)
    ;(mode === 'crdt' ? crdt : state).idle(key)
  }

  /** Compiles the schemas of existing channels, so that a bad schema fails the start. */
  start (): void {
    for (const channel of this.#channels.values()) if ('check' in channel) channel.check.compile()
  }

  /** A storage can be used now: opens the channels that were created for it before. */
  opened (): void {
    for (const channel of this.#channels.values()) if (this.#isOpen(channel.scope)) this.#open(channel)
  }

  #open (channel: Channel): void {
    if (this.#opened.has(channel)) return
    this.#opened.add(channel)
    void channel.open()
  }

  /** Flushes all channels while clients are still connected. */
  async quiesce (): Promise<void> {
    this.#flush()
    await setImmediate() // lets the flusher write them
  }

  /** Flushes again after clients have disconnected, and waits for the handlers until `deadline`. */
  async drain (deadline: number): Promise<void> {
    this.#flush()
    await until(deadline, () => Array.from(this.#channels.values()).every(({ isIdle }) => isIdle))
  }

  #flush (): void {
    for (const channel of this.#channels.values()) void channel.flush()
  }

  readonly frames: { readonly [Opcode.STATE_PUSH]: FrameHandler<PushMessage> } = {
    [Opcode.STATE_PUSH]: {
      charge: {
        scopeOf: ({ key }) => this.keys.scopeOf(key),
        limitOf: (limits, { key }) => limits.limitOf(key),
        knownAs: ({ key }) => this.#channels.has(key) ? key : undefined
      },
      read: (frame) => {
        // two levels for the envelope: a pushed value is inside an operation, inside a list
        const message = parsePayload(frame, this.settings.maxJsonDepth + 2)
        requireName(message.key, 'key')
        return message as PushMessage
      },
      about: ({ key }) => ({ key }),
      handle: (connection, correlationId, message, size) => { this.#receive(connection, correlationId, message, size) }
    }
  }

  /** @throws Refusal */
  #receive (connection: Connection, correlationId: number, message: PushMessage, size: number): void {
    const { key } = message
    const channel = this.#channels.get(key)
    if (channel?.takesPushes !== true) throw new Refusal('UNKNOWN_KEY', 'clients cannot change this key')
    this.metrics.pushes++
    let push
    try {
      push = parsePush(key, channel.mode, message, size, this.settings.maxJsonDepth)
    } catch (error) {
      if (error instanceof MalformedPush) return connection.refuseFrame(correlationId, error.message)
      return this.#refuse(connection, correlationId, key, error)
    }
    const writer = this.#writerOf(connection, push.client)
    if (writer.client !== push.client) throw new Refusal('FORBIDDEN', 'a connection must use the same client id in all pushes')
    const { budget } = writer
    budget.enter(size, 'too many pushes are waiting', RETRY)
    this.#admit(connection, writer, channel, push, {
      done: (head) => {
        this.#isStoreAway = false
        budget.leave(size)
        connection.answer(Opcode.STATE_ACK, correlationId, JSON.stringify({ key, ...head }))
      },
      failed: (error) => {
        budget.leave(size)
        this.#refuse(connection, correlationId, key, error)
      }
    })
  }

  disconnected (connection: Connection): void {
    const { line } = this.#writers.get(connection) ?? {}
    this.#writers.delete(connection)
    const end = (): void => { for (const channel of this.#channels.values()) channel.disconnected(connection) }
    // pushes that wait for a hook are applied before the end
    if (line === undefined) end()
    else line.add(0, 0, end)
  }

  /** Runs the hooks, then the channel, in order of arrival. Synchronous if nothing is asynchronous. */
  #admit (connection: Connection, writer: Writer, channel: StateChannel | InboundChannel, push: Push, outcome: PushOutcome): void {
    const { key, patches, data } = push
    const ctx = connection.messageContext
    const go = (): void => {
      // while the hook ran, the channel may have been closed, or replaced by one with stricter checks
      if (this.#channels.get(key) !== channel) return outcome.failed(new DatasoleError('UNKNOWN_KEY', 'the channel was closed'))
      try {
        channel.push(push, { client: writer.id, seq: push.seq }, ctx, outcome)
      } catch (error) {
        outcome.failed(error)
      }
    }
    const forbid = (thrown: unknown): void => { outcome.failed(new HookThrew(thrown)) }
    let allowed
    try {
      allowed = runHooks(channel.scope.chain('prePush'), ctx, { key, patches, data, ...this.#contract.keyParams(key) })
    } catch (thrown) {
      return forbid(thrown)
    }
    const before = channel.before(push)
    if (allowed === undefined && before === undefined && writer.line === undefined) return go()
    let proceed = go
    const decision = Promise.all([
      allowed?.catch((thrown: unknown) => { proceed = () => { forbid(thrown) } }),
      before?.catch((error: unknown) => { proceed = () => { outcome.failed(error) } })
    ]).then(() => 0)
    ;(writer.line ??= new InboundQueue(() => { writer.line = undefined })).add(push.size, decision, () => { proceed() })
  }

  #refuse (connection: Connection, correlationId: number, key: string, error: unknown): void {
    this.metrics.pushesRefused++
    if (error instanceof HookThrew) {
      const { code, message, more } = refusalOf(this, error.thrown, { source: 'prePush', key, connection: connection.context })
      return connection.sendError(correlationId, code, message, { ...more, key })
    }
    const { code } = error as { code?: string }
    const message = messageOf(error)
    if (error instanceof PatchError) return connection.sendError(correlationId, 'INVALID_PATCH', message, { key })
    if (code === 'TOO_DEEP') return connection.sendError(correlationId, 'LIMIT_EXCEEDED', message, { key })
    if (code === 'BUSY') return connection.sendError(correlationId, 'BUSY', message, { retryAfter: RETRY, key })
    if (code === undefined || !REFUSALS.includes(code)) {
      if (!this.#isStoreAway) this.log.error({ err: error, key }, 'a push could not be stored; clients repeat it until it is')
      this.#isStoreAway = true
      // it may have been stored: the push ledger recognizes a repeated push
      return connection.sendError(correlationId, 'BUSY', 'the change could not be stored: send it again', { retryAfter: AWAY, key })
    }
    if (code === 'INTERNAL') this.log.error({ err: error, key }, 'a push could not be checked')
    connection.sendError(correlationId, code as ErrorCode, message, { key, issues: (error as Partial<ErrorMessage>).issues })
    if (code === 'CONFLICT') this.subscriptions.resync(connection, key)
  }

  #writerOf (connection: Connection, client: string): Writer {
    let writer = this.#writers.get(connection)
    if (writer === undefined) {
      // without authentication the user id is an address, which is no identity, so only the client id counts
      const user = this.settings.authHandler === undefined ? undefined : connection.context.userId
      const id = createHash('sha256').update(JSON.stringify([user ?? null, client])).digest('base64url').slice(0, 22)
      this.#writers.set(connection, writer = { client, id, budget: new Budget(this.settings.maxCallsInFlight, this.settings.maxInflatedSize), line: undefined })
    }
    return writer
  }
}
