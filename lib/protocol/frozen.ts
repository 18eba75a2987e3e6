import { isContainer } from './json.js'

/** Deeply read-only JSON, as the client returns it. Mutable JSON is assignable to it. */
export type DeepReadonly<T> = unknown extends T ? T : T extends object ? { readonly [K in keyof T]: DeepReadonly<T[K]> } : T

/** Freezes plain JSON deeply, in place. It takes a frozen value as deeply frozen, and does not walk it. */
export function deepFreeze<T> (value: T): T {
  if (!isContainer(value) || Object.isFrozen(value)) return value
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length; i++) deepFreeze(value[i])
  } else {
    for (const key of Object.keys(value)) deepFreeze(value[key])
  }
  return Object.freeze(value)
}
