import type { CommitNotice, LogEntry } from './backend.js'

/**
 * A message on a channel of a store. Its text is `n` and a commit notice in lines, `t` and a string, or `v` and the
 * JSON of any other value. Ids, epochs and patches have no line breaks.
 */
export type Message = { notice: CommitNotice } | { text: string } | { json: string }

export function encodeValue (value: unknown): string {
  // JSON escapes lone surrogates, which no store accepts, and U+0000, which Postgres does not accept
  if (typeof value === 'string' && !/\p{Cs}/u.test(value) && !value.includes('\0')) return `t${value}`
  return `v${JSON.stringify(value)}`
}

/** @param commits absent if they are too long for a channel */
export function encodeNotice ({ base, head, commits = [] }: Omit<CommitNotice, 'live'>): string {
  const lines = [base.epoch, base.version, base.id, head.epoch, head.version, head.id]
  for (const { id, patches } of commits) lines.push(id, patches)
  return lines.join('\n')
}

/** @throws Error if the text is not a message */
export function decodeMessage (message: string): Message {
  if (message.startsWith('t')) return { text: message.slice(1) }
  if (message.startsWith('v')) return { json: message.slice(1) }
  if (!/^n[01]\n/.test(message)) throw new Error(`a message is not from this version of datasole: ${JSON.stringify(message.slice(0, 40))}`)
  const [live, baseEpoch, baseVersion, baseId, epoch, version, id, ...entries] = message.split('\n') as [string, string, string, string, string, string, string, ...string[]]
  const notice: CommitNotice = {
    base: { epoch: baseEpoch, version: Number(baseVersion), id: baseId },
    head: { epoch, version: Number(version), id },
    live: live === 'n1'
  }
  if (entries.length > 0) notice.commits = entriesOf(entries)
  return { notice }
}

/** @param lines alternating ids and patches */
export function entriesOf (lines: string[]): LogEntry[] {
  const entries = []
  for (let i = 0; i < lines.length; i += 2) entries.push({ id: lines[i]!, patches: lines[i + 1]! })
  return entries
}
