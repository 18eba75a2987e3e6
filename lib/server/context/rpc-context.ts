import { setMaxListeners } from 'node:events'
import type { AuthResult, ConnectionContext, MessageContext } from './connection-context.js'
import type { Logger } from './logger.js'

/** @internal Ends the signal of a context; only the call that made the context may do that. */
export let abortContext: (context: RpcContext, reason: Error) => void

/** The context of a method's handler. */
export class RpcContext implements MessageContext {
  /** The result of the auth handler. */
  readonly auth?: AuthResult
  readonly connectionId: string
  /** The caller: userId, metadata, tags, and values kept for it. */
  readonly connection: ConnectionContext
  readonly #log: () => Logger
  #controller: AbortController | undefined
  #reason: Error | undefined

  constructor (connection: ConnectionContext, log: () => Logger, auth: AuthResult | undefined = connection.auth) {
    this.auth = auth
    this.connectionId = connection.connectionId
    this.connection = connection
    this.#log = log
  }

  /** Aborted when the client cancels the call or disconnects, and at the call's timeout. */
  get signal (): AbortSignal {
    // made on demand: most handlers never look, and one costs more than the rest of a small call
    if (this.#controller === undefined) {
      this.#controller = new AbortController()
      // a handler hands it to whatever it awaits: with Node.js 20 the 11th listener would look like a leak
      setMaxListeners(0, this.#controller.signal)
      if (this.#reason !== undefined) this.#controller.abort(this.#reason)
    }
    return this.#controller.signal
  }

  get log (): Logger { return this.#log() }

  static {
    abortContext = (context, reason) => {
      context.#reason ??= reason
      context.#controller?.abort(reason)
    }
  }
}
