/** The texts from `from`, included, to `to`, excluded. */
export interface TextRange { from: string, to: string }

/**
 * A range that has every encoded key with a prefix. It ends in ASCII: there the order of bytes is the same in
 * every encoding. It may hold other keys too.
 * @param encode how the store writes the begin of a key
 * @returns undefined if the range would be everything
 */
export function prefixRange (prefix: string, encode: (text: string) => string): TextRange | undefined {
  // half a surrogate pair is encoded unlike the whole
  const from = asciiEnd(encode(asciiEnd(prefix)))
  if (from === '') return undefined
  return { from, to: from.slice(0, -1) + String.fromCharCode(from.charCodeAt(from.length - 1) + 1) }
}

function asciiEnd (text: string): string {
  return /^[^]*[\0-~]/.exec(text)?.[0] ?? ''
}
