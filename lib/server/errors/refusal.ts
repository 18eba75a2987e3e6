import type { ErrorCode } from '../../protocol/codes.js'
import type { ErrorMessage } from '../../protocol/messages.js'

/** Refuses a client's frame. A frame handler throws it, and the answer has the form that the kind of frame has. */
export class Refusal extends Error {
  /** @param more further members of the answer */
  constructor (readonly code: ErrorCode, message: string, readonly more: Partial<ErrorMessage> = {}) {
    super(message)
  }
}
