/**
 * Shuts the process down cleanly on SIGINT (Ctrl-C) or SIGTERM: calls are answered, `onDisconnect` hooks run, and queued
 * writes are stored. A second signal of the same name ends the process at once.
 */
export function onStop (stop: () => Promise<unknown>): void {
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => {
      stop().then(() => process.exit(), (error: unknown) => {
        console.error(error)
        process.exit(1)
      })
    })
  }
}
