import { DatasoleError } from '../protocol/errors.js'

export function positiveOption (owner: string, name: string, value: unknown): number {
  if (!Number.isInteger(value) || (value as number) < 1 || (value as number) > 2 ** 31 - 1) throw invalidOption(owner, name, 'must be a whole number from 1 up')
  return value as number
}

/** @throws DatasoleError `INVALID_OPTION` if the options are not an object, or have an unknown name */
export function checkNames (owner: string, options: unknown, known: readonly string[]): void {
  if (typeof options !== 'object' || options === null || Array.isArray(options)) throw new DatasoleError('INVALID_OPTION', `${owner}: the options must be an object`)
  for (const name of Object.keys(options)) if (!known.includes(name)) throw invalidOption(owner, name, 'is not an option')
}

/** @param owner the class that has the option */
export function invalidOption (owner: string, name: string, why: string): DatasoleError {
  return new DatasoleError('INVALID_OPTION', `${owner}: option ${name} ${why}`)
}

/** Hides passwords in a connection URL. They may contain any characters, and may also be a parameter. */
export function hidePassword (url: string): string {
  return url.replace(/(:\/\/[^:@/?]*):.*@/, '$1:***@').replace(/([?&]password=)[^&]*/gi, '$1***')
}
