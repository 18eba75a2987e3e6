import type { ErrorMessage } from '../../protocol/messages.js'
import type { ClientOpcode } from '../../protocol/opcodes.js'
import type { RateLimitRule } from '../../protocol/sliding-window.js'
import type { Refusal } from '../errors/refusal.js'
import type { Scope } from '../scope/scope.js'
import type { Connection } from './connection.js'

/** The rule that applies to a frame, and the name of its bucket. */
export interface Limit { readonly name: string, readonly rule: RateLimitRule }

/** The limits of a scope. */
export interface FrameLimits {
  /** Of SUBSCRIBE: a bucket that no method, event or key can be in. */
  readonly subscriptions: Limit
  /** Of a method, an event or a key. */
  limitOf (name: string): Limit
}

/** The rate limit that counts a frame. */
export interface Charge<M> {
  /** Undefined for the root. */
  scopeOf (message: M): Scope | undefined
  limitOf (limits: FrameLimits, message: M): Limit
  /** The name that a keyExtractor gets, if server code knows it. */
  knownAs (message: M): string | undefined
}

/**
 * How a client's frames of one kind are taken. Dispatch calls `read`, then counts the frame by `charge`, then
 * calls `handle` in the order of arrival. `M` is what the payload holds.
 */
export interface FrameHandler<M = unknown> {
  /** Absent where a frame costs nothing; then it is short. */
  readonly charge?: Charge<M>
  /** Does not wait for frames that came before. */
  readonly isUrgent?: boolean
  /**
   * Parses and checks the payload.
   * @throws BadFrame
   */
  read (frame: Buffer, correlationId: number): M
  /**
   * An admitted frame.
   * @param size bytes of the frame
   * @throws Refusal, BadFrame; whatever else it throws is the server's fault
   */
  handle (connection: Connection, correlationId: number, message: M, size: number): void
  /** Members of an ERROR beside the reason. */
  about? (message: M): Partial<ErrorMessage>
  /**
   * For kinds that are answered in another form than ERROR.
   * @param message undefined where the frame was not read
   */
  refuse? (connection: Connection, correlationId: number, refusal: Refusal, message: M | undefined): void
}

/** The handlers of a part, or of all of them. */
export type FrameHandlers = Record<ClientOpcode, FrameHandler>
