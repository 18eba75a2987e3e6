import { DatasoleError } from '../../protocol/errors.js'
import { ABNORMAL } from './pending-upgrades.js'
import { ConnectionContext, type Identity } from '../context/connection-context.js'
import { type Scope, runHooks } from '../scope/scope.js'
import type { Hub } from '../connection/hub.js'
import type { Connection } from '../connection/connection.js'
import type { Part } from '../lifecycle/part.js'
import type { Logger } from '../context/logger.js'
import type { RepeatLog } from '../context/repeat-log.js'
import type { Settings } from '../config/settings.js'
import { until, within } from '../lifecycle/until.js'
import { refusalOf } from '../errors/thrown.js'

/** An `onConnect` hook threw. The error has been logged. */
export class NotAdmitted extends Error {
  /** @param isFinal true if the hook refused; false if it failed, so that the client may try again */
  constructor (readonly isFinal: boolean) {
    super('connection refused')
  }
}

/** Runs the `onConnect` and `onDisconnect` hooks. */
export class ConnectHooks implements Part {
  /** Connections whose asynchronous `onDisconnect` hooks still run. */
  departing = 0

  constructor (
    readonly settings: Settings,
    readonly root: Scope,
    readonly hub: Hub,
    readonly log: Logger,
    readonly repeats: RepeatLog
  ) {}

  /**
   * Runs the `onConnect` hooks for a connection that is about to be accepted, and returns its context.
   * @returns a promise only if a hook is asynchronous
   * @throws NotAdmitted; DatasoleError `AUTH_TIMEOUT` if the hooks take longer than `authTimeoutMs`
   */
  admit ({ auth, remoteAddress, protocol, transport }: Identity): ConnectionContext | Promise<ConnectionContext> {
    const context = new ConnectionContext(this.hub.newId(), auth, remoteAddress, protocol, this.settings.maxTags, transport)
    const running = this.#letIn(context)
    return running === undefined ? context : this.#inTime(context, running)
  }

  async #inTime (context: ConnectionContext, running: Promise<void>): Promise<ConnectionContext> {
    const { authTimeoutMs } = this.settings
    await within(authTimeoutMs, running, () => {
      // if the hooks admit the client after the timeout, its connection has already ended
      running.then(() => { this.departed(context, ABNORMAL) }, () => { /* it was refused anyway */ })
      return new DatasoleError('AUTH_TIMEOUT', `the onConnect hooks did not answer within authTimeoutMs (${authTimeoutMs})`)
    })
    return context
  }

  /** @throws NotAdmitted */
  #letIn (context: ConnectionContext): Promise<void> | undefined {
    const hooks = this.root.chain('onConnect')
    if (hooks.length === 0) return undefined
    this.hub.arriving(context)
    try {
      return runHooks(hooks, context)?.catch((error: unknown) => { throw this.#refusal(context, error) })
    } catch (error) {
      throw this.#refusal(context, error)
    }
  }

  #refusal (context: ConnectionContext, error: unknown): NotAdmitted {
    this.hub.left(context)
    const { code } = refusalOf(this, error, { source: 'onConnect', connection: context })
    const isFinal = code === 'FORBIDDEN'
    if (isFinal) this.repeats.warn({ err: error, userId: context.userId, remoteAddress: context.remoteAddress }, 'an onConnect hook refused a connection')
    return new NotAdmitted(isFinal)
  }

  disconnected ({ context }: Connection, code: number): void {
    this.departed(context, code)
  }

  /** Also waits for the hub to be empty: the hooks of terminated connections begin when their sockets close. */
  async drain (deadline: number): Promise<void> {
    await until(deadline, () => this.hub.size === 0 && this.departing === 0)
  }

  /** Runs the `onDisconnect` hooks, once for every context that was admitted. */
  departed (context: ConnectionContext, code: number): void {
    this.hub.left(context)
    const failed = (error: unknown): void => { this.log.error({ err: error, connectionId: context.connectionId }, 'an onDisconnect hook failed') }
    try {
      const running = runHooks(this.root.chain('onDisconnect'), context, code)
      if (running === undefined) return
      this.departing++
      running.catch(failed).finally(() => { this.departing-- })
    } catch (error) {
      failed(error)
    }
  }
}
