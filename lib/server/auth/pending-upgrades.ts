import { DatasoleError } from '../../protocol/errors.js'

/** The close code of a connection that ended without a close frame. It is never sent (RFC 6455 section 7.1.5). */
export const ABNORMAL = 1006

/** The close code and reason that a connection has to end with. */
export interface CloseReason { code: number, reason: string }

/** Bytes of a close frame that remain for the reason (RFC 6455 section 5.5). */
const MAX_REASON = 123

/** @throws DatasoleError `INVALID_CLOSE` for a code or reason that an endpoint may not send (RFC 6455 section 7.4) */
export function checkCloseReason ({ code, reason }: CloseReason): void {
  const isCode = [1000, 1001, 1002, 1003, 1008, 1011].includes(code) || (Number.isInteger(code) && code >= 3000 && code <= 4999)
  if (isCode && Buffer.byteLength(reason) <= MAX_REASON) return
  throw new DatasoleError('INVALID_CLOSE', `disconnectUser: the code must be 1000 to 1003, 1008, 1011 or 3000 to 4999, and the reason must have at most ${MAX_REASON} bytes`)
}

/** One upgrade, from before its authentication until it has become a connection or failed. */
export class PendingUpgrade {
  readonly #all: Set<PendingUpgrade>
  #endings: Map<string, CloseReason> | undefined

  /** @param all pending upgrades; this one is among them until its end */
  constructor (all: Set<PendingUpgrade>) {
    this.#all = all
    all.add(this)
  }

  disconnect (userId: string, ending: CloseReason): void {
    (this.#endings ??= new Map()).set(userId, ending)
  }

  /** The close reason, if the user was disconnected since the upgrade began. */
  closeReasonOf (userId: string | undefined): CloseReason | undefined {
    return userId === undefined ? undefined : this.#endings?.get(userId)
  }

  /** May be called twice. */
  end (): void {
    this.#all.delete(this)
  }
}

/**
 * Upgrades in progress. Their users are unknown before the auth handler answers, and the answer may be older than a
 * `disconnectUser`. So each upgrade records the users that were disconnected since it began.
 */
export class PendingUpgrades {
  readonly #pending = new Set<PendingUpgrade>()

  begin (): PendingUpgrade {
    return new PendingUpgrade(this.#pending)
  }

  disconnect (userId: string, ending: CloseReason): void {
    for (const upgrade of this.#pending) upgrade.disconnect(userId, ending)
  }
}
