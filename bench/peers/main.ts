import { writeFileSync } from 'node:fs'
import { RedisServer } from '../../test/helpers/redis-server.js'
import { peers, scenarios } from './catalog.js'
import { readOptions } from './options.js'
import { type Result, machine, summary, table, versionOf, withSpread } from './report.js'
import { trial } from './trial.js'

/** `npm run bench:peers`: datasole beside its peers. The peers take turns in each round of a scenario. */
const options = readOptions(process.argv.slice(2))
const missing = options.peers.find((peer) => versionOf(peers[peer]!.package) === undefined)
if (missing !== undefined) throw new Error(`${missing} is not installed: npm install --prefix bench`)
const about = machine()
const redis = options.scenarios.some((name) => scenarios[name]!.isCluster) ? await RedisServer.start() : undefined
const all: Result[] = []
const began = performance.now()
try {
  console.log(`Node.js ${about.node}, ${about.cores} × ${about.cpu}, load average ${about.loadAverage.toFixed(1)}`)
  console.log(Object.entries(about.versions).map((version) => version.join(' ')).join(', '))
  console.log(`${options.rounds} rounds of ${options.seconds} s; median (smallest–largest)`)
  for (const name of options.scenarios) {
    const scenario = scenarios[name]!
    const results: Result[] = options.peers.filter((peer) => scenario.without?.includes(peer) !== true).map((peer) => ({ scenario: name, title: scenario.title, peer, rounds: [], errors: [] }))
    for (let round = 0; round < options.rounds; round++) {
      for (const { peer, rounds, errors } of results) {
        try {
          rounds.push(await trial(scenario, peer, options.seconds, redis?.url ?? '', options.profile))
        } catch (error) {
          errors.push((error as Error).message)
          console.error(`${name}, ${peer}: ${(error as Error).message}`)
        }
      }
    }
    all.push(...results)
    console.log(`\n### ${scenario.title}\n\n${table(results)}`)
  }
  console.log(`\n### All\n\n${summary(all)}`)
  console.log(`\n${((performance.now() - began) / 60_000).toFixed(1)} minutes`)
} finally {
  await redis?.close()
}
if (options.json !== undefined) writeFileSync(options.json, `${JSON.stringify({ machine: about, seconds: options.seconds, rounds: options.rounds, results: all.map(withSpread) }, null, 2)}\n`)
