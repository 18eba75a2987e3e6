import type { ErrorMessage } from '../protocol/messages.js'
import type { Failure } from './link.js'
import type { StateSubscriptions, SubscriptionHost } from './state-subscriptions.js'

/** The interface of the client for its features. */
export interface ClientHost extends SubscriptionHost {
  readonly subscriptions: StateSubscriptions
  sendJson (opcode: number, correlationId: number, json: string): void
}

/** A part of the client that exists only if the application imports it: channels, CRDTs. */
export interface Feature {
  /** Called before the subscriptions are renewed. */
  connected (): void
  disconnected (): void
  /** @returns whether the message was for this feature */
  receive (opcode: number, correlationId: number, payload: unknown): boolean
  /** @returns whether the error was about a message of this feature */
  refused (correlationId: number, error: ErrorMessage): boolean
  /** Called if a message was not sent: BUSY or PAYLOAD_TOO_LARGE. @returns whether it was of this feature */
  unsent (correlationId: number, failure: Failure): boolean
}

/** The features of one client. */
export class Features {
  readonly #host: ClientHost
  readonly #made = new Map<unknown, Feature>()

  constructor (host: ClientHost) {
    this.#host = host
  }

  /** @param make called once, at the first use */
  of<F extends Feature> (make: (host: ClientHost) => F): F {
    let feature = this.#made.get(make) as F | undefined
    if (feature === undefined) this.#made.set(make, feature = make(this.#host))
    return feature
  }

  connected (): void { for (const feature of this.#made.values()) feature.connected() }

  disconnected (): void { for (const feature of this.#made.values()) feature.disconnected() }

  /** @returns whether a feature handled it */
  some (takes: (feature: Feature) => boolean): boolean {
    for (const feature of this.#made.values()) if (takes(feature)) return true
    return false
  }
}

/** A registered symbol, so that the package's ES module and CommonJS copies share it. */
export const FEATURES: unique symbol = Symbol.for('datasole.features')

export interface HasFeatures { readonly [FEATURES]: Features }
