import { readFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Need } from './need.js'

/**
 * Finds out what a test needs: it, or a file that it imports, names one of the variables that a need provides.
 * @param file a compiled test
 * @param within the folder of compiled tests: what is outside of it is what they test
 */
export async function needsOf (file: string, within: string, needs: Need[]): Promise<Need[]> {
  const files = new Set([file])
  const found = new Set<Need>()
  for (const path of files) {
    const text = await readFile(path, 'utf8').catch(() => '') // not there: a text of a test looks like an import
    for (const need of needs) if (need.provides.some((name) => new RegExp(`\\b${name}\\b`).test(text))) found.add(need)
    for (const [, specifier] of text.matchAll(/(?:\bfrom |\bimport\(|^import )'(\.[^']+\.js)'/gm)) {
      const imported = join(dirname(path), specifier!)
      if (imported.startsWith(within)) files.add(imported)
    }
  }
  return [...found]
}
