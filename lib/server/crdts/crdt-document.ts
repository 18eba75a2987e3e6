import { fromMs, type HybridClock, toMs } from '../../crdt/clock.js'
import type { CrdtOp, CrdtType, Outcome, Stamped } from '../../crdt/crdt.js'
import { forgetOld, oldest } from '../../crdt/forget.js'
import { type CrdtState, crdtOf } from '../../crdt/types.js'
import { getMember, putMember } from '../../protocol/json.js'

/** Approximate time of a nodeId's last use, and the user that used it first. */
type Owner = [at: number, owner: string]

/** A CRDT as it is stored: its state, and the owners of its node ids. */
export type CrdtDocument = CrdtState & { owners: Record<string, Owner> }

/** A change that waits for the store. Without `op` it only creates the key, if there is none. */
export interface Change {
  readonly type: CrdtType
  /** Without a timestamp it is later than the value that it overwrites. */
  readonly op?: Omit<CrdtOp, 'timestamp'> & { timestamp?: number }
  /** The owner of the sender's node ids; undefined for server code, which may use any node id. */
  readonly owner?: string
  /** Checks the value after the change. A throw refuses the change. */
  readonly check?: ((value: unknown) => void) | undefined
  done (result: Result): void
  failed (error: unknown): void
}

export type Result = Outcome
  /** The key has another type. */
  | 'mistyped'
  /** The nodeId belongs to another user. */
  | 'foreign'

/** Bounds of the history of a key: its age, and its number of entries. */
const DAY = 24 * 60 * 60 * 1000
const MAX_NODES = 10_000
const MAX_REMOVED = 1000

/** ms after which the time of a nodeId in use is stored again. */
const FRESH = 60 * 60 * 1000

export function emptyDocument (type: CrdtType): CrdtDocument {
  return { ...crdtOf(type).empty(), owners: {} }
}

/** Applies a change to a document, or to a draft of one. */
export function change (document: CrdtDocument, { type, op, owner }: Change, clock: HybridClock): Result {
  if (document.type !== type) return 'mistyped'
  if (op === undefined) return 'known'
  const known = owner === undefined ? undefined : getMember(document.owners, op.nodeId) as Owner | undefined
  if (known !== undefined && known[1] !== owner) return 'foreign'
  const timestamp = op.timestamp ?? laterThan(document, op.key, clock)
  const outcome = crdtOf(type).apply(document, { ...op, timestamp })
  if (outcome !== 'changed' || owner === undefined) return outcome
  const now = Date.now()
  if (known === undefined || known[0] < now - FRESH) putMember(document.owners, op.nodeId, [now, owner])
  return outcome
}

/** Drops records that are too old or too many. It scans the whole document. */
export function forget (document: CrdtDocument): void {
  const before = Date.now() - DAY
  forgetOld(document, before, document.type === 'pn-counter' ? MAX_NODES : MAX_REMOVED)
  const owners = Object.entries(document.owners).map(([nodeId, [at]]): [string, number] => [nodeId, at])
  for (const [nodeId] of oldest(owners, before, MAX_NODES)) delete document.owners[nodeId]
}

function laterThan (document: CrdtDocument, field: string | undefined, clock: HybridClock): number {
  const written = document.type === 'lww-register' ? document.written : document.type === 'lww-map' ? getMember(document.fields, field!) as Stamped | undefined : undefined
  if (written !== undefined) clock.see(fromMs(written[0]))
  else if (document.type === 'lww-map') clock.see(fromMs(document.floor))
  return toMs(clock.tick())
}
