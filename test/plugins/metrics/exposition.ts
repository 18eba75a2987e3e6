/** A metric in the text format of Prometheus. */
export interface Family { type: string, help: string, samples: Array<{ name: string, labels: Record<string, string>, value: number }> }

const LINE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$/

/** Parses the text format 0.0.4. @throws Error for a line that is none, and for a sample without its TYPE */
export function parseExposition (text: string): Map<string, Family> {
  const families = new Map<string, Family>()
  for (const line of text.split('\n')) {
    if (line === '') continue
    const [, comment, name, rest] = /^# (HELP|TYPE) (\S+) (.+)$/.exec(line) ?? []
    if (comment === 'HELP') families.set(name!, { type: '', help: rest!, samples: [] })
    else if (comment === 'TYPE') families.get(name!)!.type = rest!
    else {
      const [, sample, labels = '', value] = LINE.exec(line) ?? []
      if (sample === undefined) throw new Error(`no line of an exposition: ${line}`)
      const family = families.get(sample) ?? families.get(sample.replace(/_(bucket|sum|count)$/, ''))
      if (family === undefined) throw new Error(`no TYPE came before ${line}`)
      const pairs = Array.from(labels.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g), ([, label, text]) => [label!, text!])
      family.samples.push({ name: sample, labels: Object.fromEntries(pairs), value: Number(value) })
    }
  }
  return families
}

/** Reads single values of a scrape: `value('rpc_calls_total')`, `value('closes_total', { reason: 'TOO_BIG' })`. */
export function reader (text: string, prefix = 'datasole_'): (name: string, labels?: Record<string, string>) => number | undefined {
  const families = parseExposition(text)
  return (name, labels = {}) => {
    const full = prefix + name
    const family = families.get(full) ?? families.get(full.replace(/_(bucket|sum|count)$/, ''))
    return family?.samples.find((sample) => sample.name === full && Object.entries(labels).every(([label, value]) => sample.labels[label] === value))?.value
  }
}
