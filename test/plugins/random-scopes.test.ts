import type { FastifyInstance } from 'fastify'
import t from 'tap'
import type { Datasole } from '../../index.js'
import backend from '../../plugins/backend.js'
import executor from '../../plugins/executor.js'
import rateLimit from '../../plugins/rate-limit.js'
import sessions from '../../plugins/sessions.js'
import { Opcode } from '../../lib/protocol/opcodes.js'
import { TrackedKeys } from '../helpers/backends.js'
import { type Registrar, pluginEntrances } from '../helpers/plugin-entrances.js'
import { randomOf, seed } from '../helpers/random.js'

const MAX_SCOPES = 8
const workerScript = new URL('scope-script.js', import.meta.url).pathname

/** A scope, and what is registered in it: the model that the server is compared with. */
interface Node {
  id: number
  parent: Node | undefined
  children: Node[]
  backend: TrackedKeys | undefined
  maxRequests: number | undefined
  hasSessions: boolean
  hasExecutor: boolean
  hasHook: boolean
  ds: Datasole | undefined
}

function randomTree (random: (below: number) => number): Node[] {
  const root: Node = { id: 0, parent: undefined, children: [], backend: new TrackedKeys(), maxRequests: 500, hasSessions: true, hasExecutor: false, hasHook: true, ds: undefined }
  const nodes = [root]
  while (nodes.length < MAX_SCOPES) {
    const parent = nodes[random(nodes.length)]!
    if (depthOf(parent) === 3) continue
    const node: Node = {
      id: nodes.length,
      parent,
      children: [],
      backend: random(3) === 0 ? new TrackedKeys() : undefined,
      maxRequests: random(3) === 0 ? 2 + random(4) : undefined,
      hasSessions: random(4) === 0,
      hasExecutor: false,
      hasHook: random(2) === 0,
      ds: undefined
    }
    parent.children.push(node)
    nodes.push(node)
  }
  nodes[1 + random(nodes.length - 1)]!.hasExecutor = true
  return nodes
}

function depthOf ({ parent }: Node): number {
  return parent === undefined ? 0 : 1 + depthOf(parent)
}

/** The nearest scope, from here up, of which it is true. */
function nearest (node: Node, isIt: (node: Node) => boolean): Node {
  return isIt(node) || node.parent === undefined ? node : nearest(node.parent, isIt)
}

const backendOf = (node: Node): Node => nearest(node, ({ backend }) => backend !== undefined)
const limitsOf = (node: Node): Node => nearest(node, ({ backend, maxRequests }) => backend !== undefined || maxRequests !== undefined)
const ruleOf = (node: Node): number => nearest(node, ({ maxRequests }) => maxRequests !== undefined).maxRequests!
const sessionsOf = (node: Node): Node => nearest(node, ({ backend, hasSessions }) => backend !== undefined || hasSessions)
const hooksOf = (node: Node | undefined): number[] => node === undefined ? [] : [...hooksOf(node.parent), ...node.hasHook ? [node.id] : []]

function shuffled<T> (list: T[], random: (below: number) => number): T[] {
  for (let i = list.length - 1; i > 0; i--) {
    const j = random(i + 1)
    ;[list[i], list[j]] = [list[j]!, list[i]!]
  }
  return list
}

/** Registers everything of a scope, in any order, then its children. */
async function build (app: Registrar, node: Node, ran: number[], random: (below: number) => number): Promise<void> {
  const ds = node.ds = app.ds
  const { id, maxRequests } = node
  const steps: Array<() => unknown> = [
    () => ds.rpc.register(`m${id}`, () => id),
    () => ds.primitives.live.register(`k${id}`),
    () => ds.primitives.crdt.register(`c${id}`, 'pn-counter')
  ]
  if (node.backend !== undefined) steps.push(() => app.register(backend, { stateBackend: node.backend! }))
  if (maxRequests !== undefined) steps.push(() => app.register(rateLimit, { defaultRule: { windowMs: 60_000, maxRequests } }))
  if (node.hasSessions) steps.push(() => app.register(sessions, { flushThreshold: 1 }))
  if (node.hasExecutor) steps.push(() => app.register(executor, { model: 'thread-pool', poolSize: 1, workerScript }))
  if (node.hasHook) steps.push(() => ds.addHook('preRpc', () => { ran.push(id) }))
  for (const step of shuffled(steps, random)) await step()
  for (const child of node.children) await app.register(async (scope: FastifyInstance) => { await build(scope, child, ran, random) })
}

for (const [entrance, start] of pluginEntrances) {
  t.test(`${entrance}: in random trees of scopes the nearest plugin wins, and nothing leaks to siblings or parents (SEED=${seed})`, async (t) => {
    const random = randomOf(seed)
    for (let round = 0; round < 3; round++) {
      const nodes = randomTree(random)
      const ran: number[] = []
      const open = await start(t, (app) => build(app, nodes[0]!, ran, random), {})
      const wire = await open()
      const used = new Map<Node, number>()
      const called = nodes.flatMap((node) => Array.from({ length: random(5) }, () => [node, `m${node.id}`, node.id] as const))
      const threaded = nodes.find(({ hasExecutor }) => hasExecutor)!
      for (const [node, method, result] of shuffled([...called, [threaded, 'inThread', 7] as const], random)) {
        const owner = limitsOf(node)
        const count = (used.get(owner) ?? 0) + 1
        const answer = await wire.call(method, result)
        if (count > ruleOf(owner)) {
          t.match(answer.error, { code: -32029 }, `${method}: over the limit of scope ${owner.id}`)
          continue
        }
        used.set(owner, count)
        t.equal(answer.result, result)
        t.strictSame(ran.splice(0), hooksOf(node), `${method}: the hooks of its scope and those around it`)
      }
      for (const { id, ds } of nodes) {
        await ds!.primitives.live.setState(`k${id}`, id)
        await ds!.primitives.crdt.apply(`c${id}`, { type: 'pn-counter', op: 'increment', value: id + 1 })
        ds!.primitives.sessions.set('ann', 'scope', id)
      }
      const lastOf = new Map(nodes.map((node) => [sessionsOf(node), node.id]))
      for (const node of nodes) {
        const { id } = node
        t.match((await wire.ask(Opcode.SUBSCRIBE, { key: `k${id}` })).payload, { data: id }, `k${id} reaches clients`)
        t.match((await wire.ask(Opcode.SUBSCRIBE, { key: `c${id}`, nodeId: 'n' })).payload, { state: { value: id + 1 } })
        const holders = nodes.filter(({ backend }) => backend !== undefined && [`state:k${id}`, `crdt:c${id}`].some((key) => backend.written.has(key)))
        t.strictSame(holders.map((holder) => holder.id), [backendOf(node).id], `the keys of scope ${id} are in the nearest backend alone`)
        t.equal(node.ds!.primitives.sessions.get('ann', 'scope'), lastOf.get(sessionsOf(node)), `sessions of scope ${id}`)
      }
      if ([...used].some(([owner]) => owner === limitsOf(threaded)) && nodes.some(({ backend }) => backend?.written.has('state:thread'))) {
        t.strictSame(nodes.filter(({ backend }) => backend?.written.has('state:thread')).map(({ id }) => id), [backendOf(threaded).id], 'what a thread writes is in the backend of its scope')
      }
      wire.socket.terminate()
    }
  })
}
