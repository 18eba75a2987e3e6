import { DatasoleError, messageOf } from '../protocol/errors.js'
import type { AuthRefresh, ErrorMessage } from '../protocol/messages.js'
import { Opcode } from '../protocol/opcodes.js'
import type { SubscriptionHost } from './state-subscriptions.js'

/** Maximum number of tokens to send for one request of the server: the server's limit. */
const ATTEMPTS = 3

/** Sends the server a new token when it asks for one. */
export class TokenRenewal {
  /** Its `onError` gets failures. Without a valid token in time, the server closes the connection. */
  readonly #host: Pick<SubscriptionHost, 'nextId' | 'send' | 'onError'>
  readonly #getToken: (() => Promise<string>) | undefined
  /** Correlation id of the token that the server is checking, or 0. */
  #id = 0
  #attempts = 0
  /** ms between attempts */
  #pause = 0
  #timer: ReturnType<typeof setTimeout> | undefined
  /** Counts requests, so that a token for an earlier connection is not sent on a later one. */
  #round = 0

  constructor (host: Pick<SubscriptionHost, 'nextId' | 'send' | 'onError'>, getToken: (() => Promise<string>) | undefined) {
    this.#host = host
    this.#getToken = getToken
  }

  /** Handles AUTH_REFRESH: a request if the correlation id is 0, else an answer. */
  receive (correlationId: number, { expiresIn = 0 }: AuthRefresh): void {
    this.end()
    if (correlationId !== 0 || this.#getToken === undefined) return
    this.#attempts = ATTEMPTS
    this.#pause = expiresIn / (ATTEMPTS + 1)
    this.#try(this.#getToken)
  }

  /** @returns whether the ERROR was about the token */
  refused (correlationId: number, { code, message }: ErrorMessage): boolean {
    if (correlationId === 0 || correlationId !== this.#id) return false
    this.#id = 0
    this.#failed(code, message)
    return true
  }

  /** Stops trying, because the connection ended or the token was accepted. */
  end (): void {
    clearTimeout(this.#timer)
    this.#id = 0
    this.#round++
  }

  #try (getToken: () => Promise<string>): void {
    const round = this.#round
    this.#attempts--
    getToken().then((token) => {
      if (round !== this.#round) return
      this.#id = this.#host.nextId()
      this.#host.send(Opcode.AUTH, this.#id, { token })
    }, (error: unknown) => {
      if (round === this.#round) this.#failed('TOKEN_FAILED', messageOf(error))
    })
  }

  #failed (code: string, message: string): void {
    this.#host.onError(new DatasoleError(code, `the authentication could not be renewed: ${message}`))
    if (this.#attempts > 0) this.#timer = setTimeout(() => { this.#try(this.#getToken!) }, this.#pause)
  }
}
