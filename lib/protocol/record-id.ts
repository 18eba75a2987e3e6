import { isContainer, type Members } from './json.js'

/** By which a record is still the same one when its other members have changed. */
export function idOf (element: unknown): string | number | undefined {
  const id = isContainer(element) ? (element as Members)['id'] : undefined
  return typeof id === 'string' || typeof id === 'number' ? id : undefined
}
