/** Warnings of the process, until the test's end. */
export function watchWarnings (t: { teardown (fn: () => unknown): void }): Error[] {
  const warnings: Error[] = []
  const seen = (warning: Error): void => { warnings.push(warning) }
  process.on('warning', seen)
  t.teardown(() => process.off('warning', seen))
  return warnings
}
