/** Listeners of a store. Each is an object, as a function may be there twice. */
export type Listeners<A extends unknown[] = []> = Set<{ listener: (...args: A) => void }>

/** Calls every listener. @throws the first error of a listener, once the others were called */
export function tellAll<A extends unknown[]> (listeners: Listeners<A>, ...args: A): void {
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

/** ms; a longer timer would fire at once. */
const MAX_TIMER = 2 ** 31 - 1

/** Starts a timer that keeps no process alive. From 25 days on, Infinity included, it never fires. */
export function restTimer (run: () => void, ms: number): ReturnType<typeof setTimeout> | undefined {
  if (ms > MAX_TIMER) return undefined
  const timer = setTimeout(run, ms)
  ;(timer as { unref?: () => void }).unref?.()
  return timer
}
