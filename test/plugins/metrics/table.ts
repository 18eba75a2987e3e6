import { BACKEND_METRICS, HISTOGRAMS, METRICS } from '../../../lib/metrics/catalog.js'

const UNITS: Record<string, string> = { '': '0 or 1', 1: '0 to 1', By: 'bytes', s: 'seconds' }

const unitOf = (unit: string): string => UNITS[unit] ?? `${unit.slice(1, -1).replace(/(sh|s|x)$/, '$1e')}s`

/** The table of docs/metrics.md, as the code has it. */
export function table (): string {
  const rows = [
    ...[...METRICS, ...BACKEND_METRICS].map(({ name, type, labels, unit, help }) => [name, type, labels.join(', '), unitOf(unit), help]),
    ...HISTOGRAMS.map(({ name, label, help }) => [name, 'histogram', label, 'seconds', help])
  ]
  return ['| Metric | Type | Labels | Unit | Meaning |', '|---|---|---|---|---|', ...rows.map(([name, type, labels, unit, help]) => `| \`${name}\` | ${type} | ${labels === '' ? '' : `\`${labels}\``} | ${unit} | ${help} |`)].join('\n').replaceAll('|  |', '| |')
}
