import { DatasoleError } from '../../protocol/errors.js'

/** The code of a connection that ended without one, never sent (RFC 6455 section 7.1.5). */
export const ABNORMAL = 1006

/** How a connection is to end. */
export interface CloseReason { code: number, reason: string }

/** Bytes that fit into a close frame beside the code (RFC 6455 section 5.5). */
const MAX_REASON = 123

/** @throws DatasoleError `INVALID_CLOSE` for what an endpoint may not say (RFC 6455 section 7.4) */
export function checkCloseReason ({ code, reason }: CloseReason): void {
  const isCode = [1000, 1001, 1002, 1003, 1008, 1011].includes(code) || (Number.isInteger(code) && code >= 3000 && code <= 4999)
  if (isCode && Buffer.byteLength(reason) <= MAX_REASON) return
  throw new DatasoleError('INVALID_CLOSE', `disconnectUser: the code must be 1000 to 1003, 1008, 1011 or 3000 to 4999, and the reason have at most ${MAX_REASON} bytes`)
}

/** One upgrade, from before its authentication until it is a connection or has failed. */
export interface PendingUpgrade {
  /** How it has to end, where its user was disconnected meanwhile. */
  closeReasonOf (userId: string | undefined): CloseReason | undefined
  end: () => void
}

/**
 * Upgrades under way. Nobody knows whose they are before their auth handlers have answered, and an
 * answer may be older than a `disconnectUser`: so each keeps who was disconnected since it began.
 */
export class PendingUpgrades {
  readonly #pending = new Set<Map<string, CloseReason>>()

  begin (): PendingUpgrade {
    const endings = new Map<string, CloseReason>()
    this.#pending.add(endings)
    return {
      closeReasonOf: (userId) => userId === undefined ? undefined : endings.get(userId),
      end: () => { this.#pending.delete(endings) }
    }
  }

  disconnect (userId: string, ending: CloseReason): void {
    for (const endings of this.#pending) endings.set(userId, ending)
  }
}
