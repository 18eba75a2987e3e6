import t from 'tap'
import { isEqual } from '../../lib/protocol/json.js'
import { MemoryBackend } from '../../lib/backend/memory/memory.js'
import { ShakyBackend } from '../helpers/backends.js'
import { Mirror } from '../helpers/mirror.js'
import { type Node, cluster, storeNode } from '../helpers/nodes.js'
import { randomOf, seed } from '../helpers/random.js'
import type { V1Client, Wire } from '../helpers/wire.js'

t.comment(`seed ${seed} (SEED=${seed} repeats this run)`)

const NAMES = ['a', 'b', 'c', '__proto__', 'constructor', 'prototype', 'x/y', 'm~n', '', '0']
const KEYS = ['one', 'two', 'sl/ash', '__proto__', 'late']

type Members = Record<string, unknown>

class Story {
  readonly #random: (below: number) => number
  #serial = 0

  constructor (seed: number) { this.#random = randomOf(seed) }

  below (n: number): number { return this.#random(n) }
  pick<T> (list: readonly T[]): T { return list[this.#random(list.length)]! }

  value (depth = 2): unknown {
    const kind = this.below(depth > 0 ? 8 : 3)
    if (kind < 2) return this.#serial++
    if (kind === 2) return this.below(20) === 0 ? 'x'.repeat(this.below(150_000)) : `text ${this.#serial++}`
    if (kind === 3) return Array.from({ length: this.below(5) }, () => this.value(depth - 1))
    const members = Array.from({ length: this.below(5) }, () => [this.pick(NAMES), this.value(depth - 1)])
    return JSON.parse(`{${members.map(([name, value]) => `${JSON.stringify(name)}:${JSON.stringify(value)}`).join(',')}}`)
  }

  /** The same change however often it runs. */
  recipe (): (draft: unknown) => unknown {
    const [name, other, kind, value] = [this.pick(NAMES), this.pick(NAMES), this.below(6), this.value(1)]
    return (draft) => {
      if (Array.isArray(draft)) {
        if (kind < 2) draft.push(value)
        else if (kind < 4) draft.splice(0, 1)
        else draft.unshift(value, 1)
      } else if (typeof draft === 'object' && draft !== null) {
        const members = draft as Members
        if (kind === 0) delete members[name]
        else if (kind === 1 && Array.isArray(members[name])) (members[name] as unknown[]).push(value)
        else if (kind === 2) [members[name], members[other]] = [own(members, other), own(members, name)]
        else members[name] = value
      } else {
        return { [other]: value }
      }
      return undefined
    }
  }
}

/** What a prototype has under that name is not the draft's. */
function own (members: Members, name: string): unknown {
  return Object.hasOwn(members, name) ? members[name] : null
}

async function tell (t: Tap, nodes: Node[], memory: MemoryBackend, story: Story, steps: number, heal: () => void): Promise<void> {
  const mirrors: Array<{ mirror: Mirror, wire: Wire, node: Node }> = []
  const old: Array<{ client: V1Client, node: Node }> = []
  const join = async (mirror: Mirror): Promise<{ mirror: Mirror, wire: Wire, node: Node }> => {
    const node = story.pick(nodes)
    const wire = await node.connect()
    mirror.use(wire)
    return { mirror, wire, node }
  }
  for (let i = 0; i < 5; i++) mirrors.push(await join(new Mirror()))
  for (let i = 0; i < 3; i++) {
    const node = story.pick(nodes)
    old.push({ client: await node.connectV1(), node })
  }
  const pending: Array<Promise<unknown>> = []
  for (let i = 0; i < steps; i++) {
    const { live, state } = story.pick(nodes).ds.primitives
    const key = story.pick(KEYS)
    const facade = (key === 'late' && i < steps / 2) ? state : live
    const at = story.below(mirrors.length)
    const { mirror, wire } = mirrors[at]!
    const roll = story.below(100)
    if (roll < 25) pending.push(facade.setState(key, story.value()))
    else if (roll < 55) pending.push(facade.update(key, story.recipe()))
    else if (roll < 58) pending.push(live.deleteState(key))
    else if (roll < 68) mirror.subscribe(key)
    else if (roll < 73) mirror.unsubscribe(key)
    else if (roll < 77) wire.socket.pause()
    else if (roll < 81) wire.socket.resume()
    else if (roll < 83) {
      wire.socket.terminate()
      mirrors[at] = await join(mirror)
    } else if (roll < 85) {
      const slot = story.below(old.length)
      const node = story.pick(nodes)
      complain(t, old[slot]!.client.complaints)
      old[slot]!.client.wire.socket.terminate()
      old[slot] = { client: await node.connectV1(), node }
    } else if (roll < 87) story.pick(old).client.wire.socket.pause()
    else if (roll < 89) for (const { client } of old) client.wire.socket.resume()
    else if (roll < 95) await new Promise(setImmediate)
    else await Promise.all(pending)
  }
  await Promise.all(pending)
  heal()
  for (const { mirror, wire } of mirrors) {
    wire.socket.resume()
    for (const key of KEYS) if (!mirror.wanted.has(key)) mirror.subscribe(key)
  }
  for (const { client } of old) client.wire.socket.resume()

  const reader = await storeNode(t, { stateBackend: memory })
  const live = new Set(await memory.liveKeys())
  const truth = new Map<string, unknown>()
  for (const key of KEYS) if (live.has(`state:${key}`)) truth.set(key, await reader.primitives.live.getState(key))
  const isRight = (key: string, value: unknown): boolean => value === undefined ? !truth.has(key) : isEqual(value, truth.get(key))
  // says who is behind, where a mere timeout would not
  const watchdog = setTimeout(() => {
    for (const { mirror, wire } of mirrors) {
      for (const key of KEYS) if (!isRight(key, mirror.value(key))) t.fail(`a mirror of "${key}" is behind`, { held: mirror.held.get(key), truth: truth.get(key) })
      if (!mirror.isAnswered) t.fail(`a SUBSCRIBE was not answered (ready state ${wire.socket.readyState})`)
    }
    for (const { client } of old) for (const key of KEYS) if (!isRight(key, client.state.get(key))) t.fail(`a version 1 mirror of "${key}" is behind (ready state ${client.wire.socket.readyState})`, { has: client.state.get(key), truth: truth.get(key), complaints: client.complaints })
  }, 20_000)
  await Promise.all([
    ...mirrors.map(({ mirror }) => mirror.until(() => mirror.isAnswered && KEYS.every((key) => isRight(key, mirror.value(key))))),
    ...old.map(({ client }) => client.until(() => KEYS.every((key) => isRight(key, client.state.get(key)))))
  ])
  clearTimeout(watchdog)
  for (const { mirror, wire } of mirrors) {
    await wire.ping()
    complain(t, mirror.complaints)
    t.ok(KEYS.every((key) => isRight(key, mirror.value(key))), 'and nothing comes after that')
  }
  for (const { client } of old) complain(t, client.complaints)
  for (const node of nodes) t.equal(node.ds.metrics.snapshot().slowConsumers, 0, 'state alone never makes a slow consumer')
}

type Tap = Pick<typeof t, 'strictSame' | 'ok' | 'equal' | 'fail' | 'teardown'>

function complain (t: Tap, complaints: string[]): void {
  t.strictSame(complaints, [], 'nobody complains')
}

for (const [count, shaky] of [[1, false], [2, false], [2, true]] as const) {
  t.test(`everyone agrees in the end: ${count} node(s)${shaky ? ', slow journals that lose notices' : ''}`, { timeout: 120_000 }, async (t) => {
    for (let round = 0; round < 4; round++) {
      const story = new Story(seed + round)
      const memory = new MemoryBackend()
      const shared = Array.from({ length: count }, () => shaky ? new ShakyBackend(memory) : memory)
      for (const backend of shared) {
        if (!(backend instanceof ShakyBackend)) continue
        backend.before = backend.after = async () => { if (story.below(3) === 0) await new Promise(setImmediate) }
        backend.hears = () => story.below(20) > 0
      }
      const nodes = await cluster(t, count, { highWaterMark: 64 * 1024, maxBufferedBytes: 2 ** 20, rateLimit: false }, shared)
      await tell(t, nodes, memory, story, 300, () => {
        for (const backend of shared) {
          if (!(backend instanceof ShakyBackend)) continue
          backend.hears = () => true
          backend.doubt()
        }
      })
    }
  })
}
