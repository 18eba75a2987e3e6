import type { ErrorCode } from '../../protocol/codes.js'
import type { ErrorMessage } from '../../protocol/messages.js'

/** Why a client's frame is not done. Thrown by a frame handler, it is answered in the form of the frame's kind. */
export class Refusal extends Error {
  /** @param more further members of the answer */
  constructor (readonly code: ErrorCode, message: string, readonly more: Partial<ErrorMessage> = {}) {
    super(message)
  }
}
