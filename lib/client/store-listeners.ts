/** Listeners of a store. Each is wrapped in an object, because a function may be added twice. */
export type Listeners<A extends unknown[] = []> = Set<{ listener: (...args: A) => void }>

/** Calls every listener. @throws the first error that a listener threw, after all were called */
export function notifyAll<A extends unknown[]> (listeners: Listeners<A>, ...args: A): void {
  const errors: unknown[] = []
  for (const own of [...listeners]) {
    try {
      if (listeners.has(own)) own.listener(...args)
    } catch (error) {
      errors.push(error)
    }
  }
  if (errors.length > 0) throw errors[0]
}

/** The longest timer in ms. A longer one would fire at once. */
const MAX_TIMER = 2 ** 31 - 1

/** Starts a timer that does not keep the process alive. A delay over MAX_TIMER (25 days) never fires. */
export function restTimer (run: () => void, ms: number): ReturnType<typeof setTimeout> | undefined {
  if (ms > MAX_TIMER) return undefined
  const timer = setTimeout(run, ms)
  ;(timer as { unref?: () => void }).unref?.()
  return timer
}
