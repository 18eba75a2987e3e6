import { existsSync, readFileSync } from 'node:fs'
import { availableParallelism, cpus, loadavg, release, totalmem } from 'node:os'
import { peers, scenarios } from './catalog.js'
import type { Figures } from './measure.js'

/** Of one peer in one scenario: the figures of each round, or why there are none. */
export interface Result { scenario: string, title: string, peer: string, rounds: Figures[], errors: string[] }

export interface Machine { date: string, cpu: string, cores: number, memoryGiB: number, kernel: string, node: string, loadAverage: number, versions: Record<string, string | undefined> }

export function machine (): Machine {
  return {
    date: new Date().toISOString(),
    cpu: cpus()[0]!.model,
    cores: availableParallelism(),
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    kernel: release(),
    node: process.version,
    loadAverage: loadavg()[0]!,
    versions: Object.fromEntries(Object.values(peers).map(({ package: name }) => [name, versionOf(name)]))
  }
}

/** The version that the benchmarks find; undefined where it is not installed. */
export function versionOf (name: string): string | undefined {
  const folders = ['bench/node_modules', 'node_modules'].map((folder) => `${folder}/${name}`)
  const path = (name === 'datasole' ? ['.'] : folders).find((folder) => existsSync(`${folder}/package.json`))
  if (path === undefined) return undefined
  return (JSON.parse(readFileSync(`${path}/package.json`, 'utf8')) as { version: string }).version
}

/** A Markdown table of a scenario: medians, with the smallest and the largest of the rounds. */
export function table (results: Result[]): string {
  const columns = [...new Set(results.flatMap(({ rounds }) => rounds.flatMap((figures) => Object.keys(figures))))]
  const lines = [`| peer | ${columns.join(' | ')} |`, `|---|${columns.map(() => '---:|').join('')}`]
  for (const { peer, rounds, errors } of results) {
    const { title } = peers[peer]!
    if (rounds.length === 0) lines.push(`| ${title} | failed: ${errors[0]!.slice(0, 80)} |${columns.slice(1).map(() => ' |').join('')}`)
    else lines.push(`| ${title} | ${columns.map((column) => cell(rounds.map((figures) => figures[column]!))).join(' | ')} |`)
  }
  return lines.join('\n')
}

function cell (values: number[]): string {
  const { median, min, max } = spread(values)
  return min === max ? format(median) : `${format(median)} (${format(min)}–${format(max)})`
}

export function spread (values: number[]): { median: number, min: number, max: number } {
  const sorted = values.toSorted((a, b) => a - b)
  return { median: sorted[Math.floor(sorted.length / 2)]!, min: sorted[0]!, max: sorted.at(-1)! }
}

/** A Markdown table of all scenarios: medians, and datasole's as a multiple of those of `ws`. */
export function summary (results: Result[]): string {
  const columns = Object.keys(peers).filter((peer) => results.some((result) => result.peer === peer))
  const hasRatio = columns.includes('datasole') && columns.includes('ws')
  const head = ['scenario', ...columns.map((peer) => peers[peer]!.title), ...hasRatio ? ['datasole / ws'] : []]
  const lines = [`| ${head.join(' | ')} |`, `|---|${head.slice(1).map(() => '---:|').join('')}`]
  for (const name of new Set(results.map(({ scenario }) => scenario))) {
    const { title, summary } = scenarios[name]!
    const roundsOf = (peer: string): Figures[] => results.find((result) => result.scenario === name && result.peer === peer)?.rounds ?? []
    for (const [i, [figure, unit]] of Object.entries(summary).entries()) {
      const values = (peer: string): number[] => roundsOf(peer).map((figures) => figures[figure]!)
      const cells = columns.map((peer) => roundsOf(peer).length === 0 ? '–' : format(spread(values(peer)).median))
      if (hasRatio) cells.push(ratioOf(values('datasole'), values('ws')))
      lines.push(`| ${i === 0 ? title : 'the same'}: ${unit} | ${cells.join(' | ')} |`)
    }
  }
  return lines.join('\n')
}

/** Of rounds, each beside the one that was measured next to it. */
function ratioOf (ours: number[], theirs: number[]): string {
  if (ours.length === 0 || ours.length !== theirs.length) return '–'
  return spread(ours.map((value, round) => value / theirs[round]!)).median.toFixed(2)
}

/** A result with median, smallest and largest of each figure. */
export function withSpread (result: Result): object {
  const names = Object.keys(result.rounds[0] ?? {})
  return { ...result, figures: Object.fromEntries(names.map((name) => [name, spread(result.rounds.map((figures) => figures[name]!))])) }
}

function format (value: number): string {
  return value.toLocaleString('en', { maximumFractionDigits: value < 10 ? 2 : value < 1000 ? 1 : 0 })
}
