import { RpcCode } from '../protocol/codes.js'
import { RpcError, isThenable, memberOf } from '../protocol/errors.js'
import type { Core } from '../server/core.js'
import type { RpcContext } from '../server/context/rpc-context.js'
import type { RpcHandler } from '../server/rpc/method.js'
import { InspectorActions, mayAct } from './inspector-actions.js'
import { KeySamples, detailOf } from './key-samples.js'
import { askNodes } from './nodes-asker.js'
import { type ConnectionDetail, type InspectorContract, type KeyDetail, type KeyRef, MAX_FILTER, type TailAnswer, type TailTarget } from './views.js'

type Methods = InspectorContract['rpc']

/** Maximum number of nodes whose cursors are read. */
const MAX_CURSORS = 1000

/** The methods of the inspector's own server. They ask all nodes, and report nodes that did not answer as `missing`. */
export function registerMethods (outer: Core, inner: Core): void {
  const keys = new KeySamples(outer)
  const actions = new InspectorActions(outer, keys)
  const register = <M extends keyof Methods>(name: M, handler: (params: Record<string, unknown>, ctx: RpcContext) => Methods[M]['result'] | Promise<Methods[M]['result']>): void => {
    inner.rpc.register(name, {}, ((params, ctx) => handler((params ?? {}) as Record<string, unknown>, ctx)) as RpcHandler, inner.root)
  }
  register('hello', (_params, ctx) => ({ mayAct: mayAct(ctx), node: selfOf(outer) }))
  register('connection', ({ id }) => connectionDetail(outer, text('id', id)))
  register('key', (params) => keyDetail(outer, keys, refOf(params), params.node))
  register('frames', ({ target, cursors }) => tailFrames(outer, targetOf(target), cursors))
  register('disconnect', ({ id, code, reason }, ctx) => actions.disconnect(ctx, text('id', id), code, reason))
  register('edit', (params, ctx) => actions.edit(ctx, refOf(params), headOf(params), text('text', params.text)))
  register('evict', (params, ctx) => actions.evict(ctx, refOf(params), headOf(params)))
}

async function connectionDetail (outer: Core, id: string): Promise<ConnectionDetail> {
  const { answers, missing } = await askNodes(outer, { connection: id, connections: [id.slice(0, MAX_FILTER)] })
  for (const [node, answer] of answers) {
    const rows = answer?.connections?.[0]?.rows
    // hasOwn: names such as "constructor" are members of every object
    const row = rows !== undefined && Object.hasOwn(rows, id) ? rows[id] : undefined
    if (row !== undefined) return { row: { id, ...row, node }, keys: [], keyCount: 0, ...answer!.connection, missing }
  }
  return { keys: [], keyCount: 0, missing }
}

/** Reads a key from the wanted node, or from the node with the newest version, or from the backend. */
async function keyDetail (outer: Core, keys: KeySamples, ref: KeyRef, wanted: unknown): Promise<KeyDetail> {
  const { answers, missing } = await askNodes(outer, { key: ref })
  let best: KeyDetail | undefined
  for (const [node, answer] of answers) {
    const key = answer?.key
    if (key?.isThere !== true) continue
    if (best === undefined || node === wanted || (best.node !== wanted && key.version > best.version)) best = { ...key, node, missing }
  }
  if (best !== undefined) return best
  const store = keys.storeOf(ref)
  // do not load a session only to show it
  if (store === undefined || store.kind === 'session') return { ...keys.detail(ref), node: selfOf(outer), missing }
  const loading = store.replica(ref.key)
  const detail = detailOf(ref, isThenable(loading) ? await loading : loading)
  store.idle(ref.key)
  return { ...detail, node: selfOf(outer), missing }
}

async function tailFrames (outer: Core, target: TailTarget, given: unknown): Promise<TailAnswer> {
  const cursors: Record<string, number> = {}
  for (const [node, cursor] of Object.entries(given ?? {}).slice(0, MAX_CURSORS)) if (Number.isSafeInteger(cursor)) cursors[node] = cursor as number
  const { answers, missing } = await askNodes(outer, { tail: { target, cursors } })
  const frames: TailAnswer['frames'] = []
  let lost = 0
  for (const [node, answer] of answers) {
    if (answer?.tail === undefined) continue
    frames.push(...answer.tail.frames.map((frame) => ({ ...frame, node })))
    cursors[node] = answer.tail.next
    lost += answer.tail.lost
  }
  // keep the cursors of nodes that did not answer, and drop those of nodes that are gone
  const nodes = new Set(outer.cluster.nodes().map(({ node }) => node))
  for (const node of Object.keys(cursors)) if (!nodes.has(node)) delete cursors[node]
  frames.sort((a, b) => a.at - b.at || a.seq - b.seq)
  return { frames, cursors, lost, missing }
}

const selfOf = (outer: Core): string => outer.cluster.nodes()[0]!.node

/** @throws RpcError -32602 */
function text (name: string, value: unknown): string {
  if (typeof value !== 'string') throw new RpcError(RpcCode.INVALID_PARAMS, `${name} must be a string`)
  return value
}

function refOf (params: unknown): KeyRef {
  return { scope: text('scope', memberOf(params, 'scope')), kind: text('kind', memberOf(params, 'kind')), key: text('key', memberOf(params, 'key')) }
}

function headOf ({ epoch, version }: Record<string, unknown>): { epoch: string, version: number } {
  if (!Number.isSafeInteger(version)) throw new RpcError(RpcCode.INVALID_PARAMS, 'version must be a whole number')
  return { epoch: text('epoch', epoch), version: version as number }
}

function targetOf (target: unknown): TailTarget {
  const key = memberOf(target, 'key')
  return key === undefined ? { connection: text('target.connection', memberOf(target, 'connection')) } : { key: text('target.key', key) }
}
