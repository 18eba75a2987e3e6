import { randomUUID } from 'node:crypto'
import type { CommitRequest, LogEntry, Snapshot } from '../../backend/backend.js'
import type { Operation } from '../../protocol/messages.js'
import { packSnapshot } from './push-ledger.js'
import type { Replica } from './replica.js'
import { type Prepared, type Write, type WriteRules, prepare } from './write.js'

/** Most writes that are committed together, as consecutive versions. */
const MAX_BATCH = 64

/** A log that is longer than this and than the value (bytes) is replaced by a new snapshot. */
const MIN_LOG = 64 * 1024

/**
 * The next writes of a queue, or the queue itself if it is not too long. A deletion is a batch of its own, because it
 * starts a new epoch.
 */
export function takeBatch (writes: Write[]): Write[] {
  let end = 1
  if (writes[0]?.resets !== true) while (end < writes.length && end < MAX_BATCH && !writes[end]!.resets) end++
  return end >= writes.length ? writes : writes.slice(0, end)
}

/**
 * Applies each write to the document, on top of the earlier ones, inside a transaction of the caller. A failed write is
 * rejected, and has no effect on later ones.
 */
export function prepareAll (replica: Replica, batch: Write[], rules: WriteRules): Prepared[] {
  const { document } = replica
  const prepared: Prepared[] = []
  for (const write of batch) {
    const before = document.mark()
    try {
      prepared.push(prepare(replica, write, prepared, rules))
      document.release()
    } catch (error) {
      document.rollback(before)
      write.reject(error)
    }
  }
  // a key that becomes live gets a snapshot, so that its history before that is dropped and never reaches clients
  const last = prepared.at(-1)
  if (last !== undefined && becomesLive(replica, prepared)) last.whole ??= JSON.stringify(document.value)
  return prepared
}

/** The operations of all writes. Undefined if there is a push, whose operations a prePush hook may still change. */
export function operationsOf (prepared: Prepared[]): Operation[] | undefined {
  if (prepared.some(({ write }) => write.push !== undefined)) return undefined
  return prepared.length === 1 ? prepared[0]!.patches : prepared.flatMap(({ patches }) => patches)
}

function becomesLive ({ live, document }: Replica, prepared: Prepared[]): boolean {
  return !live && document.value !== undefined && prepared.some(({ write }) => write.live)
}

/**
 * Makes the request for the journal.
 * @param logBytes size of the journal's log since its snapshot
 * @param ttlMs ms that the key is kept after its last commit; undefined for ever
 * @returns undefined if there is nothing to commit
 */
export function requestOf (replica: Replica, prepared: Prepared[], logBytes: number, ttlMs: number | undefined): CommitRequest | undefined {
  const { position: base } = replica
  if (prepared[0]?.write.resets) return replica.version === 0 ? undefined : { base, commits: [], reset: { epoch: randomUUID(), id: randomUUID() }, ttlMs }
  const commits = []
  let live = false
  let isDue = false
  for (const { write, entry } of prepared) {
    if (entry !== undefined) commits.push(entry)
    if (write.live && !replica.live) live = isDue = true
    if (write.touches) isDue = true
  }
  if (commits.length === 0 && (!isDue || replica.version === 0)) return undefined
  return { base, commits, live, snapshot: snapshotOf(replica, prepared, commits, logBytes, live), ttlMs }
}

/**
 * The snapshot for the journal, if one is due: a whole value that a commit writes anyway, or the new value once the
 * log has outgrown it. The first is skipped while pushes are remembered, as it would write them each time.
 */
function snapshotOf ({ version, document, pushes }: Replica, prepared: Prepared[], commits: LogEntry[], logBytes: number, becomesLive: boolean): Snapshot | undefined {
  const last = pushes.size > 0 && !becomesLive ? -1 : prepared.findLastIndex(({ whole }) => whole !== undefined)
  if (last >= 0) {
    const covered = prepared.slice(0, last + 1).flatMap(({ entry }) => entry ?? [])
    return { version: version + covered.length, value: packSnapshot(prepared[last]!.whole!, pushes.after(version, covered)) }
  }
  if (version === 0 || logBytes <= Math.max(MIN_LOG, document.size)) return undefined
  return { version: version + commits.length, value: packSnapshot(JSON.stringify(document.value), pushes.after(version, commits)) }
}
