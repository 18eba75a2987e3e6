const QUOTE = 0x22
const BACKSLASH = 0x5c

/**
 * Whether JSON text is nested deeper than `max` levels. Looked up before parsing: what comes after
 * it (a handler, JSON.stringify) may recurse, and JSON.parse itself does not say how deep it went.
 */
export function exceedsDepth (json: Uint8Array, max: number): boolean {
  // every level takes two bytes to open and close
  if (json.length < 2 * (max + 1)) return false
  let depth = 0
  for (let i = 0; i < json.length; i++) {
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
