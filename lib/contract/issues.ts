import type { StandardSchemaV1 } from '@standard-schema/spec'
import { coded, memberOf } from '../protocol/errors.js'
import { escapeSegment } from './json-schema.js'

/** A place where a value is invalid, and the reason. It never contains the value itself. */
export interface Issue {
  /** A JSON Pointer (RFC 6901), up to 1,000 characters. */
  readonly path: string
  /** The reason, up to 500 characters. */
  readonly message: string
}

/** Maximum number of reported issues per value. */
const MAX_ISSUES = 20

/** Maximum length of a message, in characters. */
const MAX_MESSAGE = 500

/** Maximum length of a path, in characters. Senders choose the names of members. */
const MAX_PATH = 1000

const VAGUE = 'is not accepted'

/** The issues of a Standard Schema, without parts of the value in their messages. */
export function issuesOf (issues: ReadonlyArray<StandardSchemaV1.Issue>, value: unknown): Issue[] {
  return issues.slice(0, MAX_ISSUES).map((issue) => {
    // a path may be a subclass of Array with another `map`
    const keys = Array.from(issue.path ?? [], (segment) => typeof segment === 'object' ? segment.key : segment)
    return { path: pointerOf(keys), message: messageWithout(issue, valueAt(value, keys)) }
  })
}

/** The issues of JSON Schema errors. Their messages describe only the schema, so they need no filter. */
export function issuesOfErrors (errors: readonly object[]): Issue[] {
  return errors.slice(0, MAX_ISSUES).map((error) => {
    const { instancePath, message } = error as { instancePath?: unknown, message?: unknown }
    return { path: typeof instancePath === 'string' ? instancePath.slice(0, MAX_PATH) : '', message: typeof message === 'string' ? message.slice(0, MAX_MESSAGE) : VAGUE }
  })
}

/** The message of an issue. If it quotes the received value, the expected type replaces it. */
function messageWithout (issue: StandardSchemaV1.Issue, value: unknown): string {
  const expected = memberOf(issue, 'expected')
  const message = String(issue.message)
  if (!echoes(message, value)) return message.slice(0, MAX_MESSAGE)
  return typeof expected === 'string' && !echoes(expected, value) ? `must be ${expected}`.slice(0, MAX_MESSAGE) : VAGUE
}

/** Whether a text contains the value, or a part of it. */
function echoes (text: string, value: unknown): boolean {
  if (typeof value === 'object' && value !== null) return Object.entries(value).some(([name, part]) => isQuoted(text, name) || echoes(text, part))
  return value !== undefined && value !== '' && (text.includes(String(value)) || text.includes(JSON.stringify(value).slice(1, -1) || '\0'))
}

/** Whether a text quotes a member's name, which senders choose too. An unquoted short name would match any text. */
function isQuoted (text: string, name: string): boolean {
  return [JSON.stringify(name), `'${name}'`, `\`${name}\``].some((quoted) => text.includes(quoted))
}

function valueAt (value: unknown, keys: readonly PropertyKey[]): unknown {
  let at = value
  for (const key of keys) at = memberOf(at, key as string)
  return at
}

function pointerOf (keys: readonly PropertyKey[]): string {
  return keys.map((key) => `/${escapeSegment(String(key))}`).join('').slice(0, MAX_PATH)
}

/** The error for a value that does not match its schema. */
export function invalidValue (what: string, issues: readonly Issue[]): TypeError & { code: string, issues: readonly Issue[] } {
  const [{ path, message } = { path: '', message: VAGUE }] = issues
  return Object.assign(coded(new TypeError(`${what}${path === '' ? '' : ` at ${path}`} ${message}`), 'INVALID_VALUE'), { issues })
}
