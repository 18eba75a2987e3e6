/** The texts from `from` (inclusive) to `to` (exclusive). */
export interface TextRange { from: string, to: string }

/**
 * A range that contains every encoded key with a prefix, and maybe others. Its bounds end in ASCII, because ASCII has
 * the same byte order in every encoding.
 * @param encode encodes the start of a key as the store does
 * @returns undefined if the range would be everything
 */
export function prefixRange (prefix: string, encode: (text: string) => string): TextRange | undefined {
  // half a surrogate pair is encoded differently from the whole
  const from = asciiEnd(encode(asciiEnd(prefix)))
  if (from === '') return undefined
  return { from, to: from.slice(0, -1) + String.fromCharCode(from.charCodeAt(from.length - 1) + 1) }
}

function asciiEnd (text: string): string {
  return /^[^]*[\0-~]/.exec(text)?.[0] ?? ''
}
