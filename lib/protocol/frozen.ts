import { isContainer } from './json.js'

/** JSON that is only read, down to its leaves: what the client hands out. Everything that JSON holds can be passed as one. */
export type DeepReadonly<T> = unknown extends T ? T : T extends object ? { readonly [K in keyof T]: DeepReadonly<T[K]> } : T

/** Freezes plain JSON, in place. What is frozen already is so down to its leaves, and is not walked again. */
export function deepFreeze<T> (value: T): T {
  if (!isContainer(value) || Object.isFrozen(value)) return value
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length; i++) deepFreeze(value[i])
  } else {
    for (const key of Object.keys(value)) deepFreeze(value[key])
  }
  return Object.freeze(value)
}
