import { setTimeout } from 'node:timers/promises'
import { type Answer, type Command, type Operation, RESULT, now, serveControl } from './control.js'
import type { Adapter, Value } from './peer.js'
import { largeEvent, makeValue, smallEvent } from './values.js'

/** The server process: `node peer-server.js <peer>`. It prints its ports, and ends with the process that started it. */
const { start } = await import(`./adapters/${process.argv[2]}.js`) as Adapter
const peer = await start({ redis: process.env.BENCH_REDIS, recovery: process.env.BENCH_RECOVERY !== undefined })

let n = 0
let acknowledged = 0
let onRoom = (): void => {}
let value: Value
let keys = 0
let peak = 0
setInterval(() => { peak = Math.max(peak, process.memoryUsage.rss()) }, 50).unref()

const operations: Record<Operation, () => unknown> = {
  event: () => peer.broadcast(smallEvent(n)),
  large: () => peer.broadcast(largeEvent(n)),
  update: () => peer.state!.update('state', n % value.records.length, n),
  replace () {
    const index = n % value.records.length
    value = { records: value.records.with(index, { ...value.records[index]!, score: n, seen: n }) }
    return peer.state!.replace!('state', value)
  },
  key: () => peer.state!.update(`k${n % keys}`, 0, n)
}

async function run (command: Command): Promise<Answer> {
  let times: number[] = []
  switch (command.do) {
    case 'usage':
      break
    case 'memory':
      for (let i = 0; i < 3; i++) {
        await setTimeout(100)
        collect()
      }
      peak = 0
      break
    case 'state':
      value = makeValue(command.records)
      await peer.state!.create(command.key, makeValue(command.records))
      break
    case 'keys':
      keys = command.count
      for (let i = 0; i < keys; i++) await peer.state!.create(`k${i}`, makeValue(1))
      break
    case 'once':
      n++
      await operations[command.operation]()
      break
    case 'flood':
      times = await flood(command.operation, command.window, command.ms, command.limit ?? Infinity)
      break
    case 'paced':
      times = await paced(command.operation, command.perSecond, command.ms)
      break
  }
  const { user, system } = process.cpuUsage()
  const { heapUsed, external, rss } = process.memoryUsage()
  return { cpu: user + system, heap: heapUsed + external, rss, peak, sent: times.length, times }
}

/** As fast as it goes, with up to `window` operations that not everybody has had. Resolves when everybody has had all. */
async function flood (operation: Operation, window: number, ms: number, limit: number): Promise<number[]> {
  const times: number[] = []
  acknowledged = 0
  for (const end = now() + ms; now() < end && times.length < limit;) {
    if (times.length - acknowledged >= window) {
      await new Promise<void>((resolve) => { onRoom = resolve })
      continue
    }
    n++
    times.push(now())
    await operations[operation]()
  }
  while (acknowledged < times.length) await new Promise<void>((resolve) => { onRoom = resolve })
  return times
}

async function paced (operation: Operation, perSecond: number, ms: number): Promise<number[]> {
  const times: number[] = []
  acknowledged = 0
  const began = now()
  for (let i = 0; i * 1000 / perSecond < ms; i++) {
    await setTimeout(Math.max(0, began + i * 1000 / perSecond - now()))
    n++
    times.push(now())
    await operations[operation]()
  }
  while (acknowledged < times.length) await new Promise<void>((resolve) => { onRoom = resolve })
  return times
}

function collect (): void {
  const bun = (globalThis as { Bun?: { gc: (isSynchronous: boolean) => void } }).Bun
  if (bun === undefined) global.gc!()
  else bun.gc(true)
}

const control = await serveControl(run, (count) => {
  acknowledged = count
  onRoom()
})
process.stdin.on('end', () => { process.exit() }).resume()
console.log(RESULT + JSON.stringify({ port: peer.port, control }))
