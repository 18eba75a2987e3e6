import { setTimeout as startTimer, clearTimeout as stopTimer } from 'node:timers'
import { setImmediate, setTimeout } from 'node:timers/promises'

/** ms that a test waits for anything, unless it says otherwise. */
const TIMEOUT = 30_000

/** The clock and the timers are those of Node.js, also where a test has taken them over. */
const clock = performance.now.bind(performance)

/** Looks without a delay, before it takes its time. */
const EAGER = 20

/**
 * Waits until a condition is true; it is asked again and again.
 * @returns what the condition gave
 * @throws Error after `timeoutMs`, with the condition and what it gave last
 */
export async function until<T> (condition: () => T | Promise<T>, timeoutMs = TIMEOUT): Promise<T> {
  const deadline = clock() + timeoutMs
  for (let i = 0; ; i++) {
    const given = await condition()
    if (given) return given
    if (clock() > deadline) throw new Error(`waited ${timeoutMs} ms in vain until ${bodyOf(condition)}; it is still ${String(given)}`)
    await (i < EAGER ? setImmediate() : setTimeout(Math.min(20, i - EAGER)))
  }
}

/**
 * What a promise resolves to.
 * @param what is waited for, for the error
 * @throws Error after `timeoutMs`
 */
export async function inTime<T> (promise: Promise<T>, what: () => string, timeoutMs = TIMEOUT): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_resolve, reject) => {
    timer = startTimer(() => { reject(new Error(`waited ${timeoutMs} ms in vain for ${what()}`)) }, timeoutMs)
  })
  try {
    return await Promise.race([promise, late])
  } finally {
    stopTimer(timer)
  }
}

/** The source of a condition, as a test wrote it. */
function bodyOf (condition: () => unknown): string {
  return String(condition).replace(/^(async )?\(\) => /, '')
}
