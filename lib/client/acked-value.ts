import type { Head } from '../protocol/messages.js'
import type { Change } from './changes.js'
import type { InFlightPush } from './in-flight-push.js'

/** A value and its version. */
interface Known extends Head { value: unknown }

/**
 * The server's value, plus the pushes that the server has acknowledged since. A push acknowledged as the next version
 * is applied at once. A push acknowledged as a later version waits for the commits of other clients before it.
 */
export class AckedValue {
  #known: Known | undefined
  #ahead: { changes: Change[], head: Head }[] = []

  get known (): Known | undefined { return this.#known }

  /** Changes that are acknowledged, but not yet in the known value. */
  get ahead (): Change[] { return this.#ahead.flatMap(({ changes }) => changes) }

  /** Stores a newer value of the server. @returns the previous value if the epoch has changed */
  learn (news: Known): Known | undefined {
    const known = this.#known
    const isSame = known?.epoch === news.epoch
    if (isSame && known.version >= news.version) return undefined
    this.#known = news
    this.#ahead = this.#ahead.filter(({ head }) => head.epoch === news.epoch && head.version > news.version)
    return isSame ? undefined : known
  }

  acked (flight: InFlightPush, { epoch, version }: Head): void {
    const known = this.#known
    if (known?.epoch === epoch && known.version >= version) return
    const value = known?.epoch === epoch && known.version + 1 === version ? flight.appliedTo(known.value) : undefined
    if (value === undefined) this.#ahead.push({ changes: flight.changes, head: { epoch, version } })
    else this.#known = { epoch, version, value }
  }
}
