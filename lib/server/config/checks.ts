import { DatasoleError, invalidArgument, memberOf } from '../../protocol/errors.js'
import { copyJson } from '../../protocol/json.js'
import { escapeToken } from '../../protocol/pointer.js'

/** Longest timer of Node.js, in ms. */
export const TIMER = 2 ** 31 - 1

export function integer (name: string, value: unknown, least: number, most: number): number {
  const whole = Number.isSafeInteger(value) || (value === Infinity && most === Infinity)
  if (!whole || (value as number) < least || (value as number) > most) {
    throw invalid(name, `must be a whole number from ${least}${most === Infinity ? ' up' : ` to ${most}`}, not ${String(value)}`)
  }
  return value as number
}

/** @throws TypeError `INVALID_ARGUMENT` if it is not a connection */
export function userOf (connection: { readonly userId?: string | undefined }): string | undefined {
  if (!isObject(connection)) throw invalidArgument('sessions.restore: the argument must be a connection or { userId }')
  return connection.userId
}

/**
 * A copy of a value that is going to be stored under `key` of a session.
 * @throws TypeError `INVALID_ARGUMENT`, `INVALID_JSON` with the path in the session; RangeError `TOO_DEEP`
 */
export function sessionValue (key: string, value: unknown, maxDepth: number): unknown {
  checkSessionKey(key)
  return copyJson(value, maxDepth, `/${escapeToken(key)}`)
}

export function checkSessionKey (key: string): void {
  if (typeof key !== 'string') throw invalidArgument('the key of a session\'s field must be a string')
}

export function checkFunction (name: string, value: unknown): void {
  if (typeof value !== 'function') throw invalid(name, 'must be a function')
}

export function checkMethods (name: string, object: unknown, methods: readonly string[]): void {
  for (const method of methods) checkFunction(`${name}.${method}`, memberOf(object, method))
}

export function isObject<T> (value: T): value is T & object {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

export function invalid (name: string, why: string): DatasoleError {
  return new DatasoleError('INVALID_OPTION', `datasole: option ${name} ${why}`)
}
