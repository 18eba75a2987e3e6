import type { SlidingWindow } from '../../protocol/sliding-window.js'

/** A connection's own windows, by rule, and how often it was refused of late. */
export class Buckets {
  /** @param name by which stores know the client; default the connection's id */
  constructor (readonly name?: string) {}

  readonly windows = new Map<string, SlidingWindow>()
  /** By bucket, so that a rule with a short window does not start another's count anew. */
  readonly refusals = new Map<string, { since: number, count: number }>()
}
