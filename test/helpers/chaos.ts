import { randomUUID } from 'node:crypto'
import { setTimeout } from 'node:timers/promises'
import type t from 'tap'
import type { StateBackend } from '../../lib/backend/backend.js'
import { isEqual } from '../../lib/protocol/json.js'
import { Mirror } from './mirror.js'
import { type Node, node, storeNode } from './nodes.js'
import { type Proxy, proxy } from './proxy.js'
import { randomOf } from './random.js'
import { until } from './until.js'

type Test = Pick<typeof t, 'teardown' | 'equal' | 'strictSame' | 'ok' | 'comment'>

/** What can happen to the store, or to the way there; `heal` takes it back. */
export interface Fault {
  name: string
  /** The store may come back without what it acknowledged. */
  losesData?: boolean
  /** How often it strikes; default once. */
  times?: number
  strike (proxies: Proxy[], random: (below: number) => number): unknown
  heal? (proxies: Proxy[]): unknown
}

export interface Story {
  seed: number
  /** Of the store itself; each node gets there through a proxy of its own. */
  port: number
  nodes: number
  /** Of the nodes; the store itself is asked with more patience. */
  commandTimeoutMs: number
  backend (port: number, commandTimeoutMs: number): StateBackend
  fault: Fault
}

const KEYS = ['a', 'b}{%', 'c\u0000\ud800']

/** ms in which all clients have to agree once the fault is over, a reconnect's backoff included. */
const CONVERGENCE = 20_000

interface Log { list: string[], pad: string }

/** What happens between a node and its store, whichever that is. */
export const networkFaults: Fault[] = [
  {
    name: 'connections of one node are half-open: it hears nothing',
    strike: ([first]) => { first!.swallow('down') }
  },
  {
    name: 'connections of one node are half-open: nobody hears it',
    strike: ([first]) => { first!.swallow('up') }
  },
  {
    name: 'one node is cut off',
    strike: (proxies, random) => { proxies[random(proxies.length)]!.refuse() },
    heal: (proxies) => { for (const each of proxies) each.heal() }
  },
  {
    name: 'connections break, one after the other',
    times: 20,
    strike: async (proxies, random) => {
      for (let i = 0; i < 20; i++) {
        proxies[random(proxies.length)]!.cut()
        await setTimeout(random(100))
      }
    }
  }
]

/**
 * Several nodes append to lists, each entry once, while something happens to the store. Afterwards no
 * acknowledged entry is missing, none is there twice, versions count the entries, and every mirror of
 * every node holds what the store holds, although nobody asked for anything.
 */
export async function survive (t: Test, { seed, port, nodes: count, commandTimeoutMs, backend, fault }: Story): Promise<void> {
  const random = randomOf(seed)
  const proxies = await Promise.all(Array.from({ length: count }, () => proxy(t, port)))
  const nodes: Node[] = []
  for (const { port } of proxies) nodes.push(await node(t, { stateBackend: backend(port, commandTimeoutMs), rateLimit: false, maxStateBytes: 2 ** 24 }))
  const mirrors: Mirror[] = []
  for (const each of nodes) {
    for (let i = 0; i < 2; i++) {
      const mirror = new Mirror()
      mirror.use(await each.connect())
      for (const key of KEYS) mirror.subscribe(key)
      mirrors.push(mirror)
    }
  }

  const attempted = new Set<string>()
  const acknowledged = new Map<string, string>()
  const failures: string[] = []
  const ending = new AbortController()
  const write = async ({ ds }: Node): Promise<void> => {
    while (!ending.signal.aborted) {
      const [key, entry, pad] = [KEYS[random(KEYS.length)]!, randomUUID(), 'x'.repeat(random(20) === 0 ? random(20_000) : 10)]
      attempted.add(entry)
      try {
        await ds.primitives.live.update(key, (draft) => {
          const log = (draft ?? { list: [], pad: '' }) as Log
          log.list.push(entry)
          log.pad = pad
          return log
        })
        acknowledged.set(entry, key)
      } catch (error) {
        failures.push((error as { code: string }).code)
      }
      await setTimeout(random(4))
    }
  }
  const writers = nodes.flatMap((each) => [write(each), write(each), write(each)])
  const progress = async (entries: number): Promise<void> => {
    const goal = acknowledged.size + entries
    await until(() => acknowledged.size >= goal)
  }
  await progress(50 + random(50))
  await fault.strike(proxies, random)
  await setTimeout(500 + random(4000))
  await fault.heal?.(proxies)
  await progress(50 + random(50))
  ending.abort()
  await Promise.all(writers)
  t.comment(`${fault.name}: ${attempted.size} writes, ${acknowledged.size} acknowledged, ${failures.length} failed (${[...new Set(failures)].join(', ')})`)
  t.strictSame(failures.filter((code) => !['OUTCOME_UNKNOWN', 'BACKEND_UNAVAILABLE'].includes(code)), [], 'failures say whether the write may have happened')

  const { primitives } = await storeNode(t, { stateBackend: backend(port, 10_000) })
  const truth = new Map<string, unknown>()
  for (const key of KEYS) truth.set(key, await primitives.live.getState(key))
  const entries = KEYS.flatMap((key) => (truth.get(key) as Log | undefined)?.list ?? [])
  t.equal(new Set(entries).size, entries.length, 'nothing was committed twice')
  t.ok(entries.every((entry) => attempted.has(entry)), 'nor what nobody wrote')
  if (!fault.losesData) {
    const held = new Set(entries)
    t.strictSame([...acknowledged.keys()].filter((entry) => !held.has(entry)), [], 'nothing that was acknowledged is missing')
  }
  const isRight = (mirror: Mirror): boolean => KEYS.every((key) => isEqual(mirror.value(key) ?? null, truth.get(key) ?? null))
  for (const deadline = Date.now() + CONVERGENCE; !mirrors.every(isRight) && Date.now() < deadline;) await setTimeout(20)
  for (const [i, mirror] of mirrors.entries()) {
    t.ok(isRight(mirror), `a mirror of node ${Math.floor(i / 2)} holds what the store holds`, {
      behind: KEYS.map((key) => ({ key, held: (mirror.value(key) as Log | undefined)?.list.length, version: mirror.held.get(key)?.version, truth: (truth.get(key) as Log | undefined)?.list.length }))
    })
    t.strictSame(mirror.complaints, [])
  }
  if (!fault.losesData) {
    for (const key of KEYS) t.equal(mirrors[0]!.held.get(key)?.version, (truth.get(key) as Log).list.length, 'versions are neither skipped nor repeated')
  }
  for (const { logs } of nodes) {
    const errors = logs.filter((line) => line.includes('"level":50'))
    t.ok(errors.length <= 3 * (fault.times ?? 1), `what happened was said once: ${errors.length} errors`, { errors })
  }
}
