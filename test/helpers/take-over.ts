/**
 * Takes over timers, clock and chance until the test's end; returns what lets ms pass. Not the timers of `node:test`:
 * those remove another timer when one that was set before is cleared.
 */
export function takeOver (t: { teardown (fn: () => unknown): void }): (ms: number) => void {
  const { setTimeout, clearTimeout } = globalThis
  const { random } = Math
  const clock = performance.now
  const timers = new Map<unknown, { due: number, run: () => void }>()
  let now = 0
  globalThis.setTimeout = ((run: (...args: unknown[]) => void, ms = 0, ...args: unknown[]) => {
    const timer = { ref: () => timer, unref: () => timer }
    timers.set(timer, { due: now + Math.max(1, ms), run: () => { run(...args) } })
    return timer
  }) as never
  globalThis.clearTimeout = (timer) => { if (!timers.delete(timer)) clearTimeout(timer) }
  Math.random = () => 0.999
  performance.now = () => now
  t.teardown(() => {
    Object.assign(globalThis, { setTimeout, clearTimeout })
    Math.random = random
    performance.now = clock
  })
  return (ms) => {
    const end = now + ms
    for (;;) {
      const [timer, next] = [...timers].filter(([, { due }]) => due <= end).sort(([, a], [, b]) => a.due - b.due)[0] ?? []
      if (next === undefined) break
      timers.delete(timer)
      now = next.due
      next.run()
    }
    now = end
  }
}
