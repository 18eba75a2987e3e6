import { CloseCode, RpcCode } from '../../protocol/codes.js'

/** The place of a refusal. */
export type RefusalPlace = 'upgrade' | 'rpc' | 'frame' | 'close'

/** Counts by place and reason; a place without a refusal is absent. */
export type RefusalCounts = Partial<Record<RefusalPlace, Record<string, number>>>

/** Most reasons per place. Further reasons count as `other`. There are fewer than 30 today. */
const MAX_REASONS = 100

/** The label for reasons beyond a bound, and for unregistered names. */
export const OTHER = 'other'

const RPC_REASONS = new Map<number, string>(Object.entries(RpcCode).map(([name, code]) => [code, name]))
const CLOSE_REASONS = new Map<number, string>(Object.entries(CloseCode).map(([name, code]) => [code, name]))

/** The reason for a code of RPC. All codes of the application are one reason. */
export const rpcReason = (code: number): string => RPC_REASONS.get(code) ?? 'APPLICATION'

/** The reason for a close code. All codes of the application are one reason. */
export const closeReason = (code: number): string => CLOSE_REASONS.get(code) ?? OTHER

/** Refusals since the server was constructed. */
export class Refusals {
  readonly #places = new Map<RefusalPlace, Map<string, number>>()

  count (place: RefusalPlace, reason: string): void {
    let reasons = this.#places.get(place)
    if (reasons === undefined) this.#places.set(place, reasons = new Map())
    const counted = reasons.has(reason) || reasons.size < MAX_REASONS ? reason : OTHER
    reasons.set(counted, (reasons.get(counted) ?? 0) + 1)
  }

  /** Undefined if there was none. */
  counts (): RefusalCounts | undefined {
    if (this.#places.size === 0) return undefined
    return Object.fromEntries(Array.from(this.#places, ([place, reasons]) => [place, Object.fromEntries(reasons)]))
  }
}
