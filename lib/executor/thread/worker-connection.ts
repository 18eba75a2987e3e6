import { coded } from '../../protocol/errors.js'
import { type AuthResult, ConnectionContext } from '../../server/context/connection-context.js'
import { tryClone } from '../cloneable.js'
import { type ConnectionCopy, type ClonedMembers, FromWorker } from '../thread-messages.js'
import type { MainLink } from './main-link.js'

/**
 * A thread's copy of a connection, taken for a call or event. Changes to it are applied to the connection before the
 * answer is sent.
 */
export class WorkerConnection extends ConnectionContext {
  readonly #ref: number
  readonly #revision: number
  readonly #link: MainLink
  readonly #missing: Map<string, string>

  constructor (ref: number, { revision, connectionId, remoteAddress, protocol, transport, auth, metadata, values, tags }: ConnectionCopy, maxTags: number, link: MainLink) {
    super(connectionId, authOf(auth, metadata), remoteAddress, protocol, maxTags, transport)
    this.#ref = ref
    this.#revision = revision
    this.#link = link
    this.#missing = new Map(values.missing)
    for (const [key, value] of values.present) super.set(key, value)
    for (const tag of tags) this.tags.add(tag)
    const tell = (tag: string, isAdded: boolean): void => { link.outbox.push([FromWorker.TAG, ref, revision, tag, isAdded]) }
    // do not report existing tags as changes
    let isNews = false
    this.listen({ tagged: (tag) => { if (isNews) tell(tag, true) }, untagged: (tag) => { tell(tag, false) } })
    isNews = true
  }

  /** @throws TypeError `CANNOT_CROSS` if the value exists on the main thread but cannot be cloned */
  override get<T = unknown> (key: string): T | undefined {
    const why = this.#missing.get(key)
    if (why !== undefined) throw cannotCross(`the value "${key}" of the connection`, why)
    return super.get<T>(key)
  }

  /** @throws TypeError `CANNOT_CROSS` if the value cannot be cloned to the main thread */
  override set (key: string, value: unknown): void {
    const { copy, why } = tryClone(value)
    if (why !== undefined) throw cannotCross(`connection.set("${key}")`, why)
    this.#missing.delete(key)
    super.set(key, value)
    this.#link.outbox.push([FromWorker.VALUE, this.#ref, this.#revision, key, copy])
  }
}

function authOf (auth: ClonedMembers, metadata: ClonedMembers | undefined): AuthResult {
  const result = membersOf(auth, 'auth')
  if (metadata !== undefined) result.metadata = membersOf(metadata, 'auth.metadata')
  return result as unknown as AuthResult
}

/** Restores members. Reading a member that was not cloneable throws. */
function membersOf ({ present, missing }: ClonedMembers, owner: string): Record<string, unknown> {
  const members: Record<string, unknown> = Object.fromEntries(present)
  for (const [name, why] of missing) {
    Object.defineProperty(members, name, { get () { throw cannotCross(`${owner}.${name}`, why) } })
  }
  return members
}

function cannotCross (what: string, why: string): TypeError & { code: string } {
  return coded(new TypeError(`${what} cannot be sent between threads: ${why}`), 'CANNOT_CROSS')
}
