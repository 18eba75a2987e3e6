const shownLines = 40

/**
 * What failed, each with the way to it (`file > test > assertion`) and the start of what tap says about it:
 * the last thing that a log shows, since a failure that names no test can't be looked into.
 * @param tap the output of a whole run
 */
export function readFailures (tap: string): string[] {
  const failures: string[] = []
  const path: string[] = []
  const seeds = new Set<string>()
  let reported = 0 // deepest level of the last failure: those around it fail with it
  const lines = tap.split('\n')
  lines.forEach((line, index) => {
    const [, indent = '', subtest, failed, seed] = /^( *)(?:# Subtest: (.*)|not ok \d+ - (.*)|# (.*\bseed\b.*))$/i.exec(line) ?? []
    const level = indent.length / 4
    if (subtest !== undefined) {
      path.splice(level, Infinity, subtest)
      if (level === 0) seeds.clear()
    } else if (seed !== undefined) {
      seeds.add(seed)
    } else if (failed !== undefined) {
      if (level >= reported) {
        const way = [...path.slice(0, level), failed.replace(/ # time=\S+$/, '')].join(' > ')
        failures.push([`FAIL ${way}`, ...[...seeds].map((text) => `  ${text}`), ...diagnostics(lines, index + 1)].join('\n'))
      }
      reported = level
    }
  })
  return failures
}

/** The block of YAML that may follow a line of TAP. */
function diagnostics (lines: string[], from: number): string[] {
  if (lines[from]?.trim() !== '---') return []
  const end = lines.findIndex((line, index) => index > from && line.trim() === '...')
  return lines.slice(from + 1, Math.min(end, from + shownLines))
}
