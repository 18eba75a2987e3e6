const QUOTE = 0x22
const BACKSLASH = 0x5c

/**
 * Whether JSON text is nested deeper than `max` levels. It runs before parsing, because JSON.parse does not report the
 * depth, and later code (a handler, JSON.stringify) may recurse.
 */
export function exceedsDepth (json: Uint8Array, max: number, start = 0): boolean {
  // each level takes two bytes, to open and to close
  if (json.length - start < 2 * (max + 1)) return false
  let depth = 0
  for (let i = start; i < json.length; i++) {
    const byte = json[i]!
    if (byte === QUOTE) {
      while (++i < json.length && json[i] !== QUOTE) if (json[i] === BACKSLASH) i++
    } else if ((byte | 0x20) === 0x7b) { // [ and {
      if (++depth > max) return true
    } else if ((byte | 0x20) === 0x7d) { // ] and }
      depth--
    }
  }
  return false
}
