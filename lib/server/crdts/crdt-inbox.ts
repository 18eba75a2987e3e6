import { createHash } from 'node:crypto'
import { fromMs, toMs } from '../../crdt/clock.js'
import type { CrdtOp } from '../../crdt/crdt.js'
import { MAX_SKEW, readOp } from '../../crdt/types.js'
import type { ErrorCode } from '../../protocol/codes.js'
import { coded, messageOf } from '../../protocol/errors.js'
import type { ErrorMessage } from '../../protocol/messages.js'
import { Opcode } from '../../protocol/opcodes.js'
import { Budget } from '../connection/budget.js'
import type { Connection } from '../connection/connection.js'
import type { FrameHandler } from '../connection/frame-handler.js'
import { parsePayload, requireName } from '../connection/payload.js'
import type { ConnectionContext } from '../context/connection-context.js'
import type { Change, Result } from './crdt-document.js'
import { isUpdate, loadYjs } from './crdt-yjs.js'
import { encodeMessage } from '../connection/encoding.js'
import type { ContractChecks } from '../contract/contract-checks.js'
import type { KeyRegistry } from '../keys/registry.js'
import { runHooks } from '../scope/scope.js'
import { Refusal } from '../errors/refusal.js'
import { refusalOf } from '../errors/thrown.js'
import type { Logger } from '../context/logger.js'
import type { Settings } from '../config/settings.js'

/** A channel of mode `crdt`: see CrdtSinkChannel. */
interface SinkChannel { sinkFor? (connection: ConnectionContext): Sink | undefined }
interface Sink { write (key: string, change: Change): void }

/** Most operations of a connection that wait for hooks and the store. */
const MAX_IN_FLIGHT = 1000

/** `retryAfter` (ms) of an operation. */
const RETRY = 1000

/** The refusals for the results of a change. */
export const REFUSALS: Partial<Record<Result, [code: ErrorCode, message: string]>> = {
  mistyped: ['CONFLICT', 'the key is of another type'],
  foreign: ['FORBIDDEN', 'the nodeId belongs to another user'],
  late: ['CONFLICT', 'the operation is too old: the server no longer knows whether it was applied'],
  early: ['LIMIT_EXCEEDED', 'the seq is more than 1,000 ahead of the last applied one'],
  full: ['LIMIT_EXCEEDED', 'the counter has reached its maximum']
}

/** A CRDT_OP whose `op` has not been checked. */
interface Operation { key: string, op: unknown }

/** Operations of clients: checks them, bounds those in progress, and answers them. */
export class CrdtInbox {
  readonly #crdts: Sink
  readonly #keys: KeyRegistry
  readonly #contract: ContractChecks
  readonly #settings: Settings
  readonly #log: Logger
  /** The last timestamp per connection of version 1. The clocks of these clients have only milliseconds. */
  readonly #stamps = new WeakMap<Connection, number>()

  constructor (crdts: Sink, keys: KeyRegistry, contract: ContractChecks, settings: Settings, log: Logger) {
    this.#crdts = crdts
    this.#keys = keys
    this.#contract = contract
    this.#settings = settings
    this.#log = log
  }

  readonly frames: { readonly [Opcode.CRDT_OP]: FrameHandler<Operation> } = {
    [Opcode.CRDT_OP]: {
      charge: {
        scopeOf: ({ key }) => this.#keys.scopeOf(key),
        limitOf: (limits, { key }) => limits.limitOf(key),
        knownAs: () => undefined
      },
      read: (frame) => {
        // one level for the envelope: a value is inside an operation
        const { key, op } = parsePayload(frame, this.#settings.maxJsonDepth + 1)
        return { key: requireName(key, 'key'), op }
      },
      about: ({ key }) => ({ key }),
      handle: (connection, correlationId, operation, size) => { this.#receive(connection, correlationId, operation, size) }
    }
  }

  /**
   * Applies an operation, and acknowledges it if it has a correlation id.
   * @throws Refusal
   */
  #receive (connection: Connection, correlationId: number, { key, op: raw }: Operation, size: number): void {
    const refuse = ({ code, message, more }: Refusal): void => { connection.sendError(correlationId, code, message, { ...more, key }) }
    const target = this.#sinkFor(key, connection.context)
    if (target === undefined) throw new Refusal('UNKNOWN_KEY', 'clients cannot change this key')
    const op = readOp(raw)
    if (typeof op === 'string') throw new Refusal('INVALID_PATCH', `invalid operation: ${op}`)
    if (op.timestamp > Date.now() + MAX_SKEW) throw new Refusal('CLOCK_SKEW', 'the timestamp is more than a minute ahead', { now: Date.now() })
    const refused = this.#contract.operation(key, op, this.#keys.channelOf(key) !== undefined)
    if (refused !== undefined) throw refused
    if (connection.protocol === 1) this.#stamp(connection, op)
    const budget = connection.work.operationBudget ??= new Budget(MAX_IN_FLIGHT, this.#settings.maxInflatedSize)
    budget.enter(size, 'too many operations of this connection are waiting', RETRY)
    const ended = (): void => { budget.leave(size) }
    const change: Change = {
      type: op.type,
      op,
      // without authentication the user id is an address, which is no identity
      owner: ownerOf(this.#settings.authHandler === undefined ? undefined : connection.context.userId),
      check: this.#contract.channelCheck(key, this.#keys.channelOf(key) !== undefined),
      done: (result) => {
        ended()
        const reason = REFUSALS[result]
        // if the user of a client has changed, the client learns that it needs another nodeId
        if (reason !== undefined) return refuse(new Refusal(...reason, result === 'foreign' ? { nodeId: op.nodeId } : {}))
        if (correlationId !== 0 && connection.protocol !== 1) connection.send(encodeMessage(Opcode.CRDT_ACK, correlationId, JSON.stringify({ key }), Infinity))
      },
      failed: (error) => {
        ended()
        refuse(this.#refusalOf(key, error))
      }
    }
    const forbidden = (thrown: unknown): void => {
      ended()
      refuse(refusalOf({ settings: this.#settings, log: this.#log }, thrown, { source: 'prePush', key, connection: connection.context }))
    }
    try {
      const allowed = runHooks(this.#keys.scopeOf(key).chain('prePush'), connection.messageContext, { key, data: op, ...this.#contract.keyParams(key) })
      if (allowed === undefined) this.#write(target, key, change)
      else allowed.then(() => { this.#write(target, key, change) }, forbidden)
    } catch (thrown) {
      forbidden(thrown)
    }
  }

  /** The target of operations on a key; undefined if clients cannot write to it. */
  #sinkFor (key: string, connection: ConnectionContext): Sink | undefined {
    if (this.#keys.kindOf(key) === 'json') return undefined
    const channel = this.#keys.channelOf(key) as SinkChannel | undefined
    return channel === undefined ? this.#crdts : channel.sinkFor?.(connection)
  }

  #write (target: Sink, key: string, change: Change): void {
    if (change.type !== 'yjs') return target.write(key, change)
    const go = (): void => {
      if (isUpdate(change.op!.value as string)) return target.write(key, change)
      change.failed(coded(new TypeError('the value is not a Yjs update'), 'INVALID_PATCH'))
    }
    const loading = loadYjs()
    if (loading === undefined) go()
    else loading.then(go, (error: unknown) => { change.failed(error) })
  }

  /** Gives operations of one millisecond increasing timestamps. */
  #stamp (connection: Connection, op: CrdtOp): void {
    delete op.seq
    const last = this.#stamps.get(connection)
    if (last !== undefined && op.timestamp <= last) op.timestamp = toMs(fromMs(last) + 1)
    this.#stamps.set(connection, op.timestamp)
  }

  #refusalOf (key: string, error: unknown): Refusal {
    const { code } = error as { code?: unknown }
    if (code === 'LIMIT_EXCEEDED' || code === 'INVALID_PATCH' || code === 'UNKNOWN_KEY') return new Refusal(code, messageOf(error))
    if (code === 'INVALID_VALUE') return new Refusal(code, messageOf(error), { issues: (error as Partial<ErrorMessage>).issues })
    // the client may repeat the operation: with the same seq it counts once
    if (code === 'BUSY' || code === 'BACKEND_UNAVAILABLE' || code === 'OUTCOME_UNKNOWN') return new Refusal('BUSY', 'the store cannot take the operation now', { retryAfter: RETRY })
    this.#log.error({ err: error, key }, 'a CRDT operation failed')
    return new Refusal('INTERNAL', 'the operation could not be applied', { retryAfter: RETRY })
  }
}

/** The owner of a nodeId: a hash of the user. All connections without a user are one owner. */
function ownerOf (userId: string | undefined): string {
  return userId === undefined ? '' : createHash('sha256').update(userId).digest('base64url').slice(0, 12)
}
