import { setTimeout } from 'node:timers/promises'

/** Looks now and then: nothing hurries while a server closes. */
export async function until (deadline: number, isDone: () => boolean): Promise<void> {
  while (!isDone() && performance.now() < deadline) await setTimeout(5)
}

/**
 * What a promise resolves to, or a failure where that takes too long.
 * @param late makes the error
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
