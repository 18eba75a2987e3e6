import { micro } from './micro.js'
import { type Figure, echo, fanout, idle, liveState } from './scenarios.js'

/** All figures, or those named: `npm run bench -- micro echo`. It measures and does not judge. */
const scenarios = { echo, fanout, liveState, idle }
const asked = process.argv.slice(2)
const isAsked = (name: string): boolean => asked.length === 0 || asked.includes(name)

console.log(`Node.js ${process.version}, ${process.arch}; server and load in separate processes, medians of rounds in turn\n`)

if (isAsked('micro')) {
  for (const { name, result } of (await micro()).tasks) {
    const each = name.includes('(each)') ? 100 : 1
    if (result?.state === 'completed') console.log(`${name.padEnd(48)} ${(result.latency.p50 * 1000 / each).toFixed(2).padStart(10)} µs (median)`)
    else console.log(`${name.padEnd(48)} did not complete`)
  }
  console.log()
}

const figures: Figure[] = []
for (const [name, scenario] of Object.entries(scenarios)) if (isAsked(name)) figures.push(...await scenario())
for (const { name, ours, theirs, unit, ratio, target } of figures) {
  console.log(name)
  console.log(`  datasole ${round(ours)}, bare ws ${round(theirs)} ${unit}; ratio ${ratio.toFixed(2)}${target === '' ? '' : ` (target ${target})`}`)
}
process.exit()

function round (value: number): string {
  return value >= 1000 ? Math.round(value).toLocaleString('en') : value.toFixed(1)
}
