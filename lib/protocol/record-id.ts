import { isContainer, type Members } from './json.js'

/** The member `id` of an object. Elements with the same id are one record, even if other members differ. */
export function idOf (element: unknown): string | number | undefined {
  const id = isContainer(element) ? (element as Members)['id'] : undefined
  return typeof id === 'string' || typeof id === 'number' ? id : undefined
}
