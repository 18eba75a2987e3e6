export interface Counts {
  passed: number
  failed: number
  /** Skipped or to do. */
  skipped: number
}

/**
 * What tap counted: every assertion, and each test without one.
 * @param tap the output of a whole run
 * @param exitCode of tap, null where a signal ended it: a run that failed has at least one failure, whatever it counted
 */
export function readCounts (tap: string, exitCode: number | null): Counts {
  const summary = [...tap.matchAll(/^# \{ (total: .*) \}$/gm)].at(-1)?.[1] ?? ''
  const count = (name: string): number => Number(new RegExp(`\\b${name}: (\\d+)`).exec(summary)?.[1] ?? 0)
  return {
    passed: count('pass'),
    failed: Math.max(count('fail'), exitCode === 0 ? 0 : 1),
    skipped: count('skip') + count('todo')
  }
}

/** A run in which nothing passed tested nothing. */
export function isGreen ({ passed, failed }: Counts): boolean {
  return passed > 0 && failed === 0
}

export function describe ({ passed, failed, skipped }: Counts): string {
  return `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`
}
