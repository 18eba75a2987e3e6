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
  /** The limit on SUBSCRIBE. No method, event or key shares its bucket. */
  readonly subscriptions: Limit
  /** The limit on a method, an event or a key. */
  limitOf (name: string): Limit
}

/** Determines the rate limit that counts a frame. */
export interface Charge<M> {
  /** Undefined for the root. */
  scopeOf (message: M): Scope | undefined
  limitOf (limits: FrameLimits, message: M): Limit
  /** The name for a `keyExtractor`; undefined if server code has not registered it. */
  knownAs (message: M): string | undefined
}

/**
 * Handles the client frames of one opcode. Dispatch calls `read`, counts the frame by `charge`, then calls `handle`, in
 * the order of arrival. `M` is the parsed payload.
 */
export interface FrameHandler<M = unknown> {
  /** Absent if no rate limit counts the frame. Then the frame must be short. */
  readonly charge?: Charge<M>
  /** True if the frame does not wait for earlier frames. */
  readonly isUrgent?: boolean
  /**
   * Parses and checks the payload.
   * @throws BadFrame
   */
  read (frame: Buffer, correlationId: number): M
  /**
   * Handles an admitted frame.
   * @param size bytes of the frame
   * @throws Refusal, BadFrame; any other error is the server's fault
   */
  handle (connection: Connection, correlationId: number, message: M, size: number): void
  /** Further members of the ERROR frame of a refusal. */
  about? (message: M): Partial<ErrorMessage>
  /**
   * Refuses a frame, if the kind has another answer than ERROR.
   * @param message undefined if the frame was not parsed
   */
  refuse? (connection: Connection, correlationId: number, refusal: Refusal, message: M | undefined): void
}

/** The handlers of all opcodes. A part provides some of them. */
export type FrameHandlers = Record<ClientOpcode, FrameHandler>
