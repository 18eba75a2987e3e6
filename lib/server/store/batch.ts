import { randomUUID } from 'node:crypto'
import type { CommitRequest, Snapshot } from '../../backend/backend.js'
import { packSnapshot } from './push-ledger.js'
import type { Replica } from './replica.js'
import { type Prepared, type Write, type WriteRules, prepare } from './write.js'

/** Most writes that are committed together, as consecutive versions. */
const MAX_BATCH = 64

/** A log that is longer than this and than the value (bytes) is replaced by a new snapshot. */
const MIN_LOG = 64 * 1024

/** Takes the next writes from the queue. A deletion is a batch of its own, because it starts a new epoch. */
export function takeBatch (writes: Write[]): Write[] {
  if (writes.length === 0) return []
  let end = 1
  if (!writes[0]!.resets) while (end < writes.length && end < MAX_BATCH && !writes[end]!.resets) end++
  return writes.splice(0, end)
}

/** Computes each write on top of the earlier ones. A failed write is rejected, and has no effect on later ones. */
export function prepareAll (replica: Replica, batch: Write[], rules: WriteRules): Prepared[] {
  const { document } = replica
  const prepared: Prepared[] = []
  const start = document.mark()
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
  document.rollback(start)
  return prepared
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
  const commits = prepared.flatMap(({ entry }) => entry ?? [])
  const live = !replica.live && prepared.some(({ write }) => write.live)
  const isDue = live || prepared.some(({ write }) => write.touches)
  if (commits.length === 0 && (!isDue || replica.version === 0)) return undefined
  return { base, commits, live, snapshot: snapshotOf(replica, prepared, logBytes, live), ttlMs }
}

/**
 * The snapshot for the journal, if one is due: a whole value that a commit writes anyway, or the base value once the
 * log has outgrown it. The first is skipped while pushes are remembered, as it would write them each time.
 */
function snapshotOf ({ version, document, pushes }: Replica, prepared: Prepared[], logBytes: number, becomesLive: boolean): Snapshot | undefined {
  const last = pushes.size > 0 && !becomesLive ? -1 : prepared.findLastIndex(({ whole }) => whole !== undefined)
  if (last >= 0) {
    const commits = prepared.slice(0, last + 1).flatMap(({ entry }) => entry ?? [])
    return { version: version + commits.length, value: packSnapshot(prepared[last]!.whole!, pushes.after(version, commits)) }
  }
  if (version === 0 || logBytes <= Math.max(MIN_LOG, document.size)) return undefined
  return { version, value: packSnapshot(JSON.stringify(document.value), pushes) }
}
