import type { SlidingWindow } from '../../protocol/sliding-window.js'

/** A connection's own rate-limit windows, by rule, and its recent refusals. */
export class Buckets {
  /** @param name name of the client in shared buckets; default the connection's id */
  constructor (readonly name?: string) {}

  readonly windows = new Map<string, SlidingWindow>()
  /** By bucket, so that a rule with a short window does not reset the count of another rule. */
  readonly refusals = new Map<string, { since: number, count: number }>()
}
