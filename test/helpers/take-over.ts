import { mock } from 'node:test'

/** Takes over timers, clock and chance until the test's end; returns what lets ms pass. */
export function takeOver (t: { teardown (fn: () => unknown): void }): (ms: number) => void {
  mock.timers.enable({ apis: ['setTimeout'] })
  const { random } = Math
  const clock = performance.now
  let now = 0
  Math.random = () => 0.999
  performance.now = () => now
  t.teardown(() => {
    mock.timers.reset()
    Math.random = random
    performance.now = clock
  })
  return (ms) => {
    now += ms
    mock.timers.tick(ms)
  }
}
