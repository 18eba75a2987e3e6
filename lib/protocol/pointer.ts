/**
 * The tokens of a JSON Pointer (RFC 6901), unescaped. The first one is always '' and stands for the
 * root: `''` gives `['']`, `/a/b` gives `['', 'a', 'b']`.
 * @returns undefined where the text is no pointer
 */
export function parsePointer (pointer: string): string[] | undefined {
  if (pointer !== '' && pointer.charCodeAt(0) !== 0x2f) return undefined
  if (!pointer.includes('~')) return pointer.split('/')
  if (/~(?![01])/.test(pointer)) return undefined
  // ~1 first: '~01' stands for '~1' and not for '/'
  return pointer.split('/').map(token => token.replaceAll('~1', '/').replaceAll('~0', '~'))
}

/** A member's name or an element's index as it stands in a JSON Pointer. */
export function escapeToken (token: string | number): string {
  if (typeof token === 'number') return String(token)
  if (!token.includes('~') && !token.includes('/')) return token
  return token.replaceAll('~', '~0').replaceAll('/', '~1')
}

/** The array index that a token spells, or -1: digits without leading zeros (RFC 6901 section 4). */
export function parseIndex (token: string): number {
  return /^(?:0|[1-9]\d{0,9})$/.test(token) ? Number(token) : -1
}
