import type { Stamped } from '../../crdt/crdt.js'
import { type Counts, sums } from '../../crdt/pn-counter.js'
import { type CrdtState, crdtOf } from '../../crdt/types.js'
import type { CrdtChange, CrdtStateMessage } from '../../crdt/crdt-frames.js'
import { getMember, putMember } from '../../protocol/json.js'
import type { Operation } from '../../protocol/messages.js'
import { parsePointer } from '../../protocol/pointer.js'

/** Most changes in one frame. Beyond that, the whole state is sent. */
const MAX_CHANGES = 1000

/** The node id in messages for a writer that is not named. */
const SERVER = 'server'

/**
 * The changes of commits, as clients of version 2 get them.
 * @returns undefined if the whole state must be sent
 */
export function changesOf (state: CrdtState, patches: Operation[]): CrdtChange[] | undefined {
  if (state.type === 'yjs') return updatesIn(patches)
  const names = touched(state, patches)
  if (names === undefined || names.size > MAX_CHANGES) return undefined
  if (state.type === 'lww-register') return state.written === undefined ? [] : [setOf(state.type, state.written)]
  if (state.type === 'lww-map') {
    return Array.from(names, (key): CrdtChange => {
      const stamped = getMember(state.fields, key) as Stamped | undefined
      return stamped === undefined ? { type: 'lww-map', op: 'forget', key } : setOf(state.type, stamped, key)
    })
  }
  const nodes: Record<string, Counts> = {}
  for (const nodeId of names) {
    const counts = getMember(state.nodes, nodeId)
    if (counts !== undefined) putMember(nodes, nodeId, counts)
  }
  return [{ type: 'pn-counter', op: 'count', plus: state.plus, minus: state.minus, nodes }]
}

/** The updates that were added to a document. Merging stored updates is not a change. */
function updatesIn (patches: Operation[]): CrdtChange[] | undefined {
  const changes: CrdtChange[] = []
  for (const operation of patches) {
    const [, first, index] = parsePointer(operation.path)!
    if (first === undefined) return undefined
    if (first === 'updates' && index !== undefined && operation.op === 'add') changes.push({ type: 'yjs', op: 'update', nodeId: SERVER, timestamp: 0, value: operation.value })
  }
  return changes
}

/** The fields or nodes that the operations write; all of them if the whole value is replaced. */
function touched (state: Exclude<CrdtState, { type: 'yjs' }>, patches: Operation[]): Set<string> | undefined {
  const names = new Set<string>()
  const member = state.type === 'lww-map' ? 'fields' : 'nodes'
  for (const { path } of patches) {
    const [, first, name] = parsePointer(path)!
    if (first === undefined || (first === member && name === undefined)) return new Set(state.type === 'lww-register' ? [] : Object.keys(state.type === 'lww-map' ? state.fields : state.nodes))
    if (first === member && name !== undefined) names.add(name)
  }
  return names
}

function setOf (type: 'lww-register' | 'lww-map', stamped: Stamped, key?: string): CrdtChange {
  const [timestamp, nodeId, value] = stamped
  return stamped.length === 2 ? { type, nodeId, timestamp, op: 'remove', key } : { type, nodeId, timestamp, op: 'set', key, value }
}

/**
 * A message with the whole state.
 * @param nodeId node id of the version 2 client that gets it; undefined for version 1
 */
export function stateMessage (state: CrdtState, version: number, nodeId: string | undefined): CrdtStateMessage {
  const { type } = state
  const value = crdtOf(type).value(state)
  if (state.type === 'lww-register') {
    const [timestamp, writer] = state.written ?? [0, SERVER]
    return { type, value, metadata: { type, nodeId: writer, timestamp, version } }
  }
  if (state.type === 'lww-map') {
    const stamps: Record<string, [number, string]> = {}
    let newest = 0
    for (const [field, [timestamp, writer]] of Object.entries(state.fields)) {
      putMember(stamps, field, [timestamp, writer])
      newest = Math.max(newest, timestamp)
    }
    return { type, value, metadata: { type, nodeId: SERVER, timestamp: newest, version, stamps } }
  }
  if (state.type === 'yjs') return { type, value, metadata: { type, nodeId: SERVER, timestamp: Date.now(), version } }
  const { plus, minus, nodes } = state
  if (nodeId !== undefined) return { type, value, metadata: { type, nodeId: SERVER, timestamp: Date.now(), version, plus, minus, node: getMember(nodes, nodeId) as Counts | undefined } }
  return { type, value, metadata: { type, nodeId: SERVER, timestamp: Date.now(), version, vector: vectorOf(state) } }
}

/** The counts per node, which version 1 clients add up. Counts of forgotten nodes are attributed to the server. */
function vectorOf ({ plus, minus, nodes }: Extract<CrdtState, { type: 'pn-counter' }>): CrdtStateMessage['metadata']['vector'] {
  const increments: Record<string, number> = {}
  const decrements: Record<string, number> = {}
  for (const [nodeId, counts] of Object.entries(nodes)) {
    const [up, down] = sums(counts)
    putMember(increments, nodeId, up)
    putMember(decrements, nodeId, down)
    plus -= up
    minus -= down
  }
  // a client may have chosen the same name
  increments[SERVER] = (increments[SERVER] ?? 0) + plus
  decrements[SERVER] = (decrements[SERVER] ?? 0) + minus
  return { increments, decrements }
}
