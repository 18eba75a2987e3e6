import { setTimeout } from 'node:timers/promises'

/** Polls until `isDone` returns true, or the deadline (ms, monotonic) has passed. */
export async function until (deadline: number, isDone: () => boolean): Promise<void> {
  while (!isDone() && performance.now() < deadline) await setTimeout(5)
}

/**
 * Waits for a promise, and rejects if it takes too long.
 * @param late creates the error
 */
export async function within<T> (ms: number, promise: T | PromiseLike<T>, late: () => Error): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const timeout = new Promise<never>((_resolve, reject) => {
    timer = globalThis.setTimeout(() => { reject(late()) }, ms)
    timer.unref()
  })
  try {
    return await Promise.race([promise, timeout])
  } finally {
    clearTimeout(timer)
  }
}
