import { contractTypes } from './contract-types.js'
import type { Figure } from './compare.js'
import { deflation, receivers } from './deflation.js'
import { executor } from './executor.js'
import { growth } from './growth.js'
import { inspectorCost } from './inspector.js'
import { micro } from './micro.js'
import { commits, nodes } from './nodes.js'
import { simulate } from './nodes-sim.js'
import { redisPublish } from './redis-publish.js'
import { echo, fanout, idle, live } from './scenarios.js'
import { schemas } from './schemas.js'
import { start } from './start.js'
import { drain } from './drain.js'
import { herd } from './herd.js'
import { page } from './page.js'
import { sustained } from './sustained.js'

/** All figures, or those named: `npm run bench -- micro echo`. It measures and does not judge. */
const scenarios: Record<string, () => Promise<Figure[]>> = { echo, fanout, live, idle, nodes }
const parts = ['micro', 'deflate', 'schemas', 'types', 'growth', 'sustained', 'commits', 'start', 'page', 'herd', 'drain', 'executor', 'inspector', 'nodes-sim', 'redis-publish', ...Object.keys(scenarios)]
const asked = process.argv.slice(2)
const unknown = asked.find((name) => !parts.includes(name))
if (unknown !== undefined) throw new Error(`there is no "${unknown}"; there are ${parts.join(', ')}`)
const isAsked = (name: string): boolean => asked.length === 0 || asked.includes(name)

console.log(`Node.js ${process.version}, ${process.arch}`)

if (isAsked('micro')) {
  row(['\nParts, without a network', 'median'])
  for (const { name, result } of (await micro()).tasks) {
    if (!('latency' in result)) throw new Error(`${name} did not complete`, { cause: 'error' in result ? result.error : undefined })
    const each = name.includes('(each)') ? 100 : 1
    row([name, `${(result.latency.p50 * 1000 / each).toFixed(2)} µs`])
  }
}

if (isAsked('deflate')) {
  row(['\nAn event, encoded once for all who get it', 'compressed', 'as it is', 'a stream each', 'bytes', 'on the wire'])
  const events = deflation()
  for (const { bytes, deflated, plain, compressed, own } of events) {
    row([`${format(bytes)} bytes`, `${compressed.toFixed(1)} µs`, `${plain.toFixed(1)} µs`, `${own.toFixed(1)} µs`, format(bytes), format(deflated)])
  }
  const { plain, compressed } = await receivers()
  row(['An event of 8 KB to 500 connections, all included, for each', `${compressed.toFixed(2)} µs`, `${plain.toFixed(2)} µs`])
}

if (isAsked('schemas')) {
  row(['\nChecks by a contract, without a network', 'median'])
  for (const { name, result } of (await schemas()).tasks) {
    if (!('latency' in result)) throw new Error(`${name} did not complete`, { cause: 'error' in result ? result.error : undefined })
    row([name, `${(result.latency.p50 * 1000 / (name.includes('(each)') ? 100 : 1)).toFixed(2)} µs`])
  }
}

if (isAsked('types')) {
  row(['\nTypeScript checks a contract, its server and client', 'elapsed'])
  await contractTypes(1, true) // the compiler is warm from here on
  for (const methods of [1, 500]) {
    for (const isUsed of [false, true]) row([`${methods} methods${isUsed ? ', registered and called' : ''}`, `${(await contractTypes(methods, isUsed)).toFixed(0)} ms`])
  }
}

if (isAsked('growth')) {
  row(['\nHow costs grow, without a network', 'n', 'CPU or memory'])
  for (const { what, n, cost, unit } of await growth()) row([what, format(n), `${cost.toFixed(2)} ${unit}`])
}

if (isAsked('sustained')) {
  row(['\nUpdates of one field, new snapshots included', 'CPU per update', 'the longest'])
  for (const { records, updates, cpu, longest } of await sustained()) {
    row([`${format(updates)} updates of ${format(records)} records`, `${cpu.toFixed(1)} µs`, `${longest.toFixed(1)} ms`])
  }
}

if (isAsked('commits')) {
  row(['\nCommits of one field, one after the other, written to disk', 'elapsed', 'CPU here'])
  for (const { store, bytes, elapsed, cpu } of await commits()) row([`${store}, a value of ${format(bytes)} bytes`, `${elapsed.toFixed(0)} µs`, `${cpu.toFixed(0)} µs`])
}

if (isAsked('page')) {
  row(['\nA page: main thread for each patch of a 118 KB state', 'at 60 per second', 'in bursts of 100', 'first state, cold', 'gzip'])
  for (const { client, paced, burst, firstState, gzip } of await page()) row([client, `${paced.toFixed(0)} µs`, `${burst.toFixed(1)} µs`, `${firstState.toFixed(0)} ms`, `${(gzip / 1024).toFixed(1)} KB`])
}

if (isAsked('herd')) {
  row(['\nA server that restarts with 5,000 clients', 'all are back', 'most in 100 ms', 'CPU'])
  for (const { how, elapsed, peak, cpu } of await herd()) row([how, `${elapsed.toFixed(0)} ms`, format(peak), `${cpu.toFixed(0)} ms`])
}

if (isAsked('drain')) {
  row(['\npm2 reload of two processes with 5,000 clients and 500 calls per second', 'elapsed', 'most lost in 100 ms', 'most away', 'failed calls'])
  for (const { drainMs, elapsed, peak, away, calls, failed } of await drain()) row([`drainMs: ${format(drainMs)}`, `${format(elapsed)} ms`, format(peak), format(away), `${failed} of ${format(calls)}`])
}

if (isAsked('start')) {
  row(['\nStart of a node beside live keys', 'median', 'the longest'])
  for (const { store, keys, median, longest } of await start()) row([`${store}, ${format(keys)} live keys`, `${median.toFixed(1)} ms`, `${longest.toFixed(1)} ms`])
}

if (isAsked('executor')) {
  row(['\nWorker threads', '', 'target'])
  for (const { name, value, unit, target } of await executor()) row([name, `${value.toFixed(1)} ${unit}`, target])
}

if (isAsked('inspector')) {
  row(['\nA server with 1,000 connections that get 4 frames a second, and its inspector', 'CPU'])
  for (const { what, cpu } of await inspectorCost()) row([what, `${cpu.toFixed(1)} %`])
}

if (isAsked('nodes-sim')) {
  const { broadcasts, idle, members } = await simulate()
  row(['\nNodes of one process over Redis: CPU of each broadcast, before topics and with', 'other node', 'topics', 'all nodes', 'topics', 'ratio', 'Redis', 'topics', 'messages', 'topics'])
  for (const { before, topics } of broadcasts) {
    row([`${before.nodes} nodes, ${before.what}`, ...[before.other, topics.other, before.all, topics.all].map((µs) => `${µs.toFixed(1)} µs`), (topics.all / before.all).toFixed(2),
      `${before.redis.toFixed(1)} µs`, `${topics.redis.toFixed(1)} µs`, before.messages.toFixed(2), topics.messages.toFixed(2)])
  }
  row(['\nThe same, nothing sent: each second', 'CPU of a node', 'Redis', 'messages'])
  for (const { nodes: count, node, redis, messages } of idle) row([`${count} nodes`, `${format(node)} µs`, `${format(redis)} µs`, format(messages)])
  row(['\nA user of its own that connects and leaves, without its upgrade', 'CPU', 'of Redis', 'memory of Redis'])
  for (const { topics, node, redis, bytes } of members) row([topics ? 'by topics' : 'every node', `${format(node)} µs`, `${format(redis)} µs`, `${format(bytes)} B`])
}

if (isAsked('redis-publish')) {
  row(['\nRedis without a rest: CPU of each publication of 220 bytes', 'alone', '16 at once'])
  for (const { receivers, alone, pipelined } of await redisPublish()) row([`${receivers} receivers`, `${alone.toFixed(2)} µs`, `${pipelined.toFixed(2)} µs`])
}

const names = Object.keys(scenarios).filter(isAsked)
if (names.length > 0) {
  row(['\nServer CPU or memory, load in another process', 'datasole', 'bare ws', 'ratio', '(quartiles)', 'target'])
  for (const name of names) {
    for (const { name: title, unit, ours, theirs, ratio: [low, median, high], target } of await scenarios[name]!()) {
      row([`${title}, ${unit}`, format(ours), format(theirs), median.toFixed(2), low === high ? '' : `${low.toFixed(2)}-${high.toFixed(2)}`, target])
    }
  }
}
process.exit()

function row ([title = '', ...cells]: string[]): void {
  console.log(title.padEnd(76) + cells.map((cell) => cell.padStart(12)).join('  '))
}

function format (value: number): string {
  return value.toLocaleString('en', { maximumFractionDigits: value < 1000 ? 1 : 0 })
}
