const MAX_DELAY = 30_000

/**
 * The delay before an attempt to reconnect: exponential backoff with full jitter. The jitter spreads out clients that
 * lost the same server.
 * @param attempt counts from 1
 * @param interval upper bound of the first delay, in ms; it doubles with each attempt, up to 30 s
 * @param random from 0 to below 1; default Math.random
 * @returns ms
 */
export function backoff (attempt: number, interval: number, random: () => number = Math.random): number {
  return random() * Math.min(Math.max(MAX_DELAY, interval), interval * 2 ** (attempt - 1))
}
