import { randomUUID } from 'node:crypto'
import type { CommitRequest, Snapshot } from '../../backend/backend.js'
import { packSnapshot } from './push-ledger.js'
import type { Replica } from './replica.js'
import { type Prepared, type Write, type WriteRules, prepare } from './write.js'

/** Writes that go out together as consecutive versions, at the most. */
const MAX_BATCH = 64

/** A log this much longer than the value (bytes) is worth a new snapshot, even for tiny values. */
const MIN_LOG = 64 * 1024

/** A deletion goes alone: it starts a new epoch. */
export function takeBatch (writes: Write[]): Write[] {
  if (writes.length === 0) return []
  let end = 1
  if (!writes[0]!.resets) while (end < writes.length && end < MAX_BATCH && !writes[end]!.resets) end++
  return writes.splice(0, end)
}

/** Computes each write on top of those before it. One that fails is rejected, and is as if it had not been. */
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
  // what a key was before clients could see it is not theirs: the journal gets a value to forget it for
  const last = prepared.at(-1)
  if (last !== undefined && becomesLive(replica, prepared)) last.whole ??= JSON.stringify(document.value)
  document.rollback(start)
  return prepared
}

function becomesLive ({ live, document }: Replica, prepared: Prepared[]): boolean {
  return !live && document.value !== undefined && prepared.some(({ write }) => write.live)
}

/**
 * @param logBytes of the journal's log since its snapshot
 * @param ttlMs for which the key is kept after its last commit; undefined for good
 * @returns undefined where there is nothing to commit
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

/** A whole value that is written anyway (unless what is remembered of pushes would be written with it each time), or a new one of the base where the log has outgrown the value. */
function snapshotOf ({ version, document, pushes }: Replica, prepared: Prepared[], logBytes: number, becomesLive: boolean): Snapshot | undefined {
  const last = pushes.size > 0 && !becomesLive ? -1 : prepared.findLastIndex(({ whole }) => whole !== undefined)
  if (last >= 0) {
    const commits = prepared.slice(0, last + 1).flatMap(({ entry }) => entry ?? [])
    return { version: version + commits.length, value: packSnapshot(prepared[last]!.whole!, pushes.after(version, commits)) }
  }
  if (version === 0 || logBytes <= Math.max(MIN_LOG, document.size)) return undefined
  return { version, value: packSnapshot(JSON.stringify(document.value), pushes) }
}
