import { setTimeout } from 'node:timers/promises'

/** Looks now and then: nothing hurries while a server closes. */
export async function until (deadline: number, isDone: () => boolean): Promise<void> {
  while (!isDone() && performance.now() < deadline) await setTimeout(5)
}
