/**
 * Splits a JSON Pointer (RFC 6901) into unescaped tokens. The first token is always '' and stands for the root: `''`
 * gives `['']`, `/a/b` gives `['', 'a', 'b']`.
 * @returns undefined if the text is not a JSON Pointer
 */
export function parsePointer (pointer: string): string[] | undefined {
  if (pointer !== '' && pointer.charCodeAt(0) !== 0x2f) return undefined
  if (!pointer.includes('~')) return pointer.split('/')
  if (/~(?![01])/.test(pointer)) return undefined
  // ~1 first, because '~01' means '~1' and not '/'
  return pointer.split('/').map(token => token.replaceAll('~1', '/').replaceAll('~0', '~'))
}

/** Escapes a member's name or an element's index for a JSON Pointer. */
export function escapeToken (token: string | number): string {
  if (typeof token === 'number') return String(token)
  if (!token.includes('~') && !token.includes('/')) return token
  return token.replaceAll('~', '~0').replaceAll('/', '~1')
}

/** Parses a token as an array index, digits without leading zeros (RFC 6901 section 4). Returns -1 for any other token. */
export function parseIndex (token: string): number {
  const index = Number(token)
  return Number.isInteger(index) && index >= 0 && index < 1e10 && String(index) === token ? index : -1
}
