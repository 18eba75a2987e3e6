import type { DatasoleError } from '../protocol/errors.js'
import { type Unsubscribe, unsubscriber } from '../protocol/unsubscribe.js'
import type { BackendLog } from './backend.js'
import type { RetryPolicy } from './retry-policy.js'
import { type ChannelSource, Channels } from './listeners.js'

/** ms that a graceful close may take. */
const END_TIMEOUT = 1000

/** ms between two reports of invalid messages. */
const UNREAD_INTERVAL = 1000

/**
 * The connections to a store, from the first `connect` to the last `close`. Several servers may share them. Listeners
 * may subscribe before the connections are open.
 */
export abstract class StoreConnection {
  readonly policy: RetryPolicy
  readonly channels: Channels
  readonly #connectTimeoutMs: number
  readonly #lossListeners = new Set<() => void>()
  /** Subscriptions that are made before the listener exists wait for it. */
  readonly #connected: Promise<void>
  #onConnected = (): void => {}
  #listener: ChannelSource | undefined
  #connecting: Promise<void> | undefined
  #users = 0
  #hasUnread = false

  constructor (policy: RetryPolicy, connectTimeoutMs: number) {
    this.policy = policy
    this.#connectTimeoutMs = connectTimeoutMs
    this.#connected = new Promise((resolve) => { this.#onConnected = resolve })
    this.channels = new Channels({
      open: (name) => this.#listener?.open(name) ?? this.#connected,
      shut: (name) => { this.#listener?.shut(name) }
    }, (error) => { this.#unread(error) })
  }

  /** @throws DatasoleError, within the time limit */
  async connect (log: BackendLog | undefined): Promise<void> {
    this.policy.log ??= log
    this.#users++
    try {
      await (this.#connecting ??= this.#connect())
    } catch (error) {
      this.#users--
      this.#connecting = undefined
      throw error
    }
  }

  async close (): Promise<void> {
    if (--this.#users > 0) return
    this.policy.end()
    this.#listener = undefined
    await this.disconnect(END_TIMEOUT)
  }

  onMessagesLost (fn: () => void): Unsubscribe {
    const own = (): void => { fn() }
    this.#lossListeners.add(own)
    return unsubscriber(() => { this.#lossListeners.delete(own) })
  }

  /**
   * Opens the connections, and subscribes to all known channels.
   * @param attempt aborted at the timeout; nothing may be opened after that
   * @param listen call it with the listener before you subscribe the known channels; later ones are opened on it
   */
  protected abstract open (attempt: AbortSignal, listen: (listener: ChannelSource) => void): Promise<void>

  /**
   * Closes the connections that `open` has opened, even if it failed halfway.
   * @param ms time for calls in progress
   */
  protected abstract disconnect (ms: number): Promise<void>

  /** Converts an error of `open` to one that names the option at fault and the cause. */
  protected abstract explain (thrown: unknown): DatasoleError

  /** Notifies every listener that messages may have been lost. */
  protected messagesLost (): void {
    for (const fn of this.#lossListeners) fn()
  }

  #unread (error: unknown): void {
    if (this.#hasUnread) return
    this.#hasUnread = true
    this.policy.log?.error({ err: error }, 'a message from the store cannot be read: another version of datasole or another program publishes under the same prefix. The server reads its keys again')
    setTimeout(() => {
      this.#hasUnread = false
      this.messagesLost()
    }, UNREAD_INTERVAL).unref()
  }

  async #connect (): Promise<void> {
    const attempt = new AbortController()
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<never>((_resolve, reject) => {
      timer = setTimeout(() => { reject(new Error(`no answer within connectTimeoutMs (${this.#connectTimeoutMs} ms)`)) }, this.#connectTimeoutMs)
    })
    try {
      await Promise.race([late, this.open(attempt.signal, (listener) => { this.#listener = listener })])
      this.#onConnected()
    } catch (error) {
      attempt.abort()
      this.#listener = undefined
      await this.disconnect(0)
      throw this.explain(error)
    } finally {
      clearTimeout(timer)
    }
  }
}
