import type { Head } from '../../protocol/messages.js'

/** The position of a value as text without quotes, for ETags and event ids. */
export function positionOf ({ epoch, version }: Head): string {
  // a custom store may have any characters in its epochs
  return `${encodeURIComponent(epoch)}-${version}`
}

/** The strong validator (RFC 9110 section 8.8.3) of a value. */
export function entityTagOf (head: Head): string {
  return `"${positionOf(head)}"`
}

/** The position that a text encodes; undefined if it is not a position of this server. */
export function parsePosition (text: string): Head | undefined {
  const end = text.lastIndexOf('-')
  const digits = text.slice(end + 1)
  if (end < 0 || !/^\d{1,16}$/.test(digits) || !Number.isSafeInteger(Number(digits))) return undefined
  try {
    return { epoch: decodeURIComponent(text.slice(0, end)), version: Number(digits) }
  } catch {
    return undefined // a percent sign that encodes nothing
  }
}

/** The tags of an If-Match or If-None-Match header. Text that is not a tag matches nothing. */
export class EntityTags {
  /** `*`: matches any value. */
  readonly isAny: boolean
  readonly #tags: readonly string[]

  constructor (header: string) {
    this.isAny = header.trim() === '*'
    this.#tags = header.match(/(?:W\/)?"[^"]*"/g) ?? []
  }

  /** The position in the only tag; undefined if there are several tags, or the tag is not of this server. */
  get only (): Head | undefined {
    return this.#tags.length === 1 ? parsePosition(this.#tags[0]!.replace(/^W\//, '').slice(1, -1)) : undefined
  }

  /** The comparison of If-None-Match. Compressing proxies make tags weak (RFC 9110 section 8.8.3.2). */
  has (tag: string): boolean {
    return this.isAny || this.#tags.some((each) => each.replace(/^W\//, '') === tag)
  }

  /** The comparison of If-Match, in which a weak tag matches nothing. */
  hasStrong (tag: string): boolean {
    return this.isAny || this.#tags.includes(tag)
  }
}

/** The ms of `wait` in a Prefer header (RFC 7240 section 4.3); undefined if there is none. */
export function waitOf (prefer: string | undefined, maxMs: number): number | undefined {
  const [, seconds] = /(?:^|[,;])\s*wait\s*=\s*"?(\d{1,9})"?\s*(?:[,;]|$)/i.exec(prefer ?? '') ?? []
  return seconds === undefined ? undefined : Math.min(Number(seconds) * 1000, maxMs)
}
