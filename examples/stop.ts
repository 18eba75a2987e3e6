/**
 * Ends the process in good order when it is told to, by Ctrl-C or by whoever runs it: calls are answered,
 * `onDisconnect` hooks run, and what waits to be stored is stored. Another signal of the same name ends it at once.
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
