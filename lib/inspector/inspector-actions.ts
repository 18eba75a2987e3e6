import { CloseCode, RpcCode } from '../protocol/codes.js'
import { diff } from '../protocol/diff.js'
import { RpcError, isThenable, memberOf, messageOf } from '../protocol/errors.js'
import { clonePlain } from '../protocol/json.js'
import type { Head } from '../protocol/messages.js'
import { checkCloseReason } from '../server/auth/pending-upgrades.js'
import type { RpcContext } from '../server/context/rpc-context.js'
import type { Core } from '../server/core.js'
import { Sessions } from '../server/sessions/sessions.js'
import type { Replica } from '../server/store/replica.js'
import type { StateStore } from '../server/store/state-store.js'
import type { KeySamples } from './key-samples.js'
import { type KeyRef, MAX_VALUE } from './views.js'

/** Timeout in ms for the other nodes to close a connection. */
const TIMEOUT = 1000

/** Whether the viewer was allowed to run actions when it connected. */
export function mayAct ({ auth }: RpcContext): boolean {
  return auth?.metadata?.mayAct === true
}

/** Actions of viewers that `allowActions` accepts. Each action is logged, with the viewer's address, before it runs. */
export class InspectorActions {
  readonly #outer: Core
  readonly #keys: KeySamples

  constructor (outer: Core, keys: KeySamples) {
    this.#outer = outer
    this.#keys = keys
  }

  /** Closes a connection on any node. */
  async disconnect (ctx: RpcContext, id: string, code: unknown = CloseCode.AUTH_EXPIRED, reason: unknown = 'disconnected by the server'): Promise<{ count: number, missing: string[] }> {
    this.#check(ctx)
    const closing = { code: code as number, reason: reason as string }
    try {
      checkCloseReason(closing)
    } catch (error) {
      throw new RpcError(RpcCode.INVALID_PARAMS, messageOf(error))
    }
    this.#log(ctx, 'disconnect', { connectionId: id, ...closing })
    const { byNode, missing } = await this.#outer.cluster.ask({ kind: 'disconnect', selector: { connection: id }, ...closing }, TIMEOUT)
    let count = 0
    for (const answer of byNode.values()) count += answer.count
    return { count, missing }
  }

  /** Commits a value of live state, unless it has changed since the viewer saw it. */
  async edit (ctx: RpcContext, ref: KeyRef, seen: Head, text: string): Promise<{ changes: number }> {
    this.#check(ctx)
    const store = this.#storeOf(ref)
    if (store.kind !== 'state') throw new RpcError(RpcCode.INVALID_PARAMS, 'only values of live state can be edited')
    if (text.length > MAX_VALUE) throw new RpcError(RpcCode.INVALID_PARAMS, `a value of more than ${MAX_VALUE} characters cannot be edited here`)
    let value: unknown
    try {
      value = JSON.parse(text)
    } catch (error) {
      throw new RpcError(RpcCode.INVALID_PARAMS, `the value is not JSON: ${messageOf(error)}`)
    }
    const replica = await this.#unchanged(store, ref, seen)
    return await asRpc(async () => {
      const patches = diff(clonePlain(replica.document.value), value, this.#outer.settings.maxJsonDepth)
      this.#log(ctx, 'edit', { ...ref, ...seen })
      if (patches.length > 0) await store.patch(ref.key, seen, patches, replica.live)
      return { changes: patches.length }
    })
  }

  /** Deletes a key or a session, unless it has changed since the viewer saw it. */
  async evict (ctx: RpcContext, ref: KeyRef, seen: Head): Promise<{ wasThere: boolean }> {
    this.#check(ctx)
    const store = this.#storeOf(ref)
    await this.#unchanged(store, ref, seen)
    this.#log(ctx, 'evict', { ...ref, ...seen })
    return await asRpc(async () => {
      if (store.kind === 'crdt') return { wasThere: await this.#outer.keyspace.crdts.delete(ref.key) }
      const sessions = this.#outer.parts.find((part): part is Sessions => part instanceof Sessions && part.areIn(store))
      return { wasThere: await (sessions === undefined ? store.delete(ref.key, seen) : sessions.clear(ref.key)) }
    })
  }

  #check (ctx: RpcContext): void {
    if (!mayAct(ctx)) throw new RpcError(RpcCode.FORBIDDEN, 'the inspector is read-only for you: its option allowActions decides who may act')
  }

  #storeOf (ref: KeyRef): StateStore {
    const store = this.#keys.storeOf(ref)
    if (store === undefined) throw new RpcError(RpcCode.INVALID_PARAMS, `this node has no scope "${ref.scope}" with keys of kind ${ref.kind}`)
    return store
  }

  /** @throws RpcError with code `CONFLICT` in its data, also if the key exists only on another node */
  async #unchanged (store: StateStore, { key }: KeyRef, { epoch, version }: Head): Promise<Replica> {
    const loading = store.replica(key)
    const replica = isThenable(loading) ? await loading : loading
    if (replica.epoch === epoch && replica.version === version && version > 0) return replica
    store.idle(key)
    throw new RpcError(RpcCode.APPLICATION, `"${key}" has changed: check the new value, then try again`, { code: 'CONFLICT' })
  }

  #log ({ connection }: RpcContext, action: string, what: object): void {
    this.#outer.log.info({ action, ...what, remoteAddress: connection.remoteAddress }, 'a viewer acted in the inspector')
  }
}

/** Codes of commit errors that are sent to the viewer. */
const CODES_FOR_VIEWERS: readonly unknown[] = ['CONFLICT', 'INVALID_VALUE', 'LIMIT_EXCEEDED', 'TOO_DEEP', 'BUSY', 'BACKEND_UNAVAILABLE', 'OUTCOME_UNKNOWN']

/** Runs an action. @throws RpcError with the code of the failure in its data */
async function asRpc<T> (run: () => Promise<T>): Promise<T> {
  try {
    return await run()
  } catch (error) {
    const code = memberOf(error, 'code')
    throw CODES_FOR_VIEWERS.includes(code) ? new RpcError(RpcCode.APPLICATION, messageOf(error), { code }) : error
  }
}
