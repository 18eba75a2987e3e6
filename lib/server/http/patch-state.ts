import { memberOf, messageOf } from '../../protocol/errors.js'
import { clonePlain } from '../../protocol/json.js'
import type { ErrorMessage, Head, Operation } from '../../protocol/messages.js'
import type { PatchLimits } from '../../protocol/document.js'
import { parsePush } from '../channels/push.js'
import { StateChannel } from '../channels/state-channel.js'
import type { ErrorCode } from '../../protocol/codes.js'
import type { Core } from '../core.js'
import { refusalOf } from '../errors/thrown.js'
import { runHooks } from '../scope/scope.js'
import type { StateStore } from '../store/state-store.js'
import { type Write, versionOf } from '../store/write.js'
import { type EntityTags, entityTagOf } from './entity-tags.js'
import type { Exchange } from './exchange.js'
import { HttpRefusal } from './http-refusal.js'
import { type Permission, countRequest, requirePermission } from './permissions.js'

export interface Patching {
  key: string
  /** JSON text of the operations. */
  patches: string
  /** The values that the client expects: If-Match. */
  expected: EntityTags | undefined
  /** Whether the request may change keys that clients cannot push to. */
  allow: Permission<{ key: string }>
}

/** Bytes that operations on a key without a channel may move and compare, beyond four times their own size. */
const FREE_WORK = 1024 * 1024

/**
 * Changes a key: with the checks of a push if clients may push to it, else if an option allows it. Unlike a push, it is
 * not recorded for retries, and always applies to the newest value. If-Match names the value that it is for.
 * @throws HttpRefusal, Refusal; any other error is the server's fault
 * @returns the position of the key after the change
 */
export async function patchState (core: Core, exchange: Exchange, { key, patches, expected, allow }: Patching): Promise<Head> {
  const { settings: { maxJsonDepth }, contract, metrics, keyspace: { channels, keys, live, crdts } } = core
  const { connection } = exchange.http
  const ctx = connection.messageContext
  const known = channels.get(key)
  const channel = known instanceof StateChannel && known.takesPushes ? known : undefined
  const scope = keys.scopeOf(key)
  await exchange.during(countRequest(core, scope, connection, key))
  if (channel === undefined) await exchange.during(requirePermission(allow, connection, { key }, 'allowPatch'))
  if (known?.direction === 'client-to-server' || keys.kindOf(key) === 'crdt' || crdts.names.has(key)) throw HttpRefusal.of('UNKNOWN_KEY', 'this key takes no patches')
  if (channel !== undefined) metrics.pushes++
  try {
    const size = Buffer.byteLength(patches)
    const operations = parsePush(key, channel?.mode ?? 'json-patch', { push: { client: 'http', seq: 1 }, patches: JSON.parse(patches) as unknown }, size, maxJsonDepth).patches!
    try {
      await exchange.during(runHooks(scope.chain('prePush'), ctx, { key, patches: operations, data: undefined, ...contract.keyParams(key) }))
    } catch (thrown) {
      if (thrown instanceof HttpRefusal) throw thrown
      throw refusalOf(core, thrown, { source: 'prePush', key, connection: connection.context })
    }
    if (channels.get(key) !== known) throw HttpRefusal.of('UNKNOWN_KEY', 'the channel was closed')
    const limits = channel?.check.limits(size) ?? { maxDepth: maxJsonDepth, maxWork: 4 * size + FREE_WORK }
    return await write(live.storeOf(key), key, operations, expected, limits, channel && ((document) => { channel.check.run(document, ctx) }))
  } catch (error) {
    if (channel !== undefined) metrics.pushesRefused++
    throw failureOf(error)
  }
}

/** @throws as the store and the check do; HttpRefusal 412 if the client expects another value */
function write (store: StateStore, key: string, operations: Operation[], expected: EntityTags | undefined, limits: PatchLimits, check: Write['check']): Promise<Head> {
  return new Promise((resolve, reject) => {
    let head: Head = { epoch: '', version: 0 }
    store.write(key, {
      live: true,
      limits,
      // runs again if another node commits first
      make: (_document, replica, before) => {
        const { epoch } = replica
        const version = versionOf(replica, before)
        // a write as live state would publish a value that server code keeps private
        if (version > 0 && !replica.live && !before.some(({ write }) => write.live)) throw HttpRefusal.of('UNKNOWN_KEY', 'this key takes no patches')
        if (expected !== undefined && (version === 0 || !expected.hasStrong(entityTagOf({ epoch, version })))) throw HttpRefusal.because(412, 'CONFLICT', 'the ETag of the value does not match If-Match')
        head = { epoch, version: operations.length === 0 ? version : version + 1 }
        return clonePlain(operations) as Operation[]
      },
      ...check !== undefined && { check },
      resolve: () => { resolve(head) },
      reject
    })
  })
}

/** The answer to a failed write. */
function failureOf (error: unknown): unknown {
  const code = memberOf(error, 'code')
  if (code === 'TOO_DEEP') return HttpRefusal.of('LIMIT_EXCEEDED', messageOf(error))
  if (TOLD.includes(code)) return error instanceof HttpRefusal ? error : HttpRefusal.of(code as ErrorCode, messageOf(error), error as Partial<ErrorMessage>)
  if (code === 'BACKEND_UNAVAILABLE') return HttpRefusal.of('BUSY', 'the change could not be stored')
  if (code === 'OUTCOME_UNKNOWN') return HttpRefusal.because(503, code, 'the change may or may not have been stored: read the key before you try again')
  return error
}

const TOLD: readonly unknown[] = ['INVALID_PATCH', 'INVALID_VALUE', 'LIMIT_EXCEEDED', 'BUSY'] satisfies ErrorCode[]
