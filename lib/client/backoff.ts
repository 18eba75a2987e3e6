const MAX_DELAY = 30_000

/**
 * The wait before an attempt to reconnect: "full jitter", a random share of a bound that doubles with
 * each attempt, so that clients which lost the same server do not come back together.
 * @param attempt 1 for the first
 * @param interval ms: the bound of the first wait; later ones go up to 30 s
 */
export function backoff (attempt: number, interval: number, random: () => number = Math.random): number {
  return random() * Math.min(Math.max(MAX_DELAY, interval), interval * 2 ** (attempt - 1))
}
