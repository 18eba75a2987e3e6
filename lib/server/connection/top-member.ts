const QUOTE = 0x22
const BACKSLASH = 0x5c
const OBJECT = 0x7b
const ARRAY = 0x5b
const COMMA = 0x2c
const SPACES = [0x20, 0x09, 0x0a, 0x0d]

/**
 * Finds a string member of the outermost object, as JSON.parse would return it, without building objects. If the name
 * is repeated, the last member counts. Undefined if there is none, or it is not a string. It does not validate the
 * text: the code that parses it does.
 * @param name ASCII, without quotes and backslashes
 */
export function topMember (json: Buffer, name: string): string | undefined {
  let i = 0
  while (SPACES.includes(json[i]!)) i++
  if (json[i] !== OBJECT) return undefined
  let depth = 0
  let isName = false
  let isWanted = false
  let found: string | undefined
  for (; i < json.length; i++) {
    const byte = json[i]!
    if (byte === QUOTE) {
      const end = endOfString(json, i)
      if (depth === 1) {
        if (isName) {
          isWanted = isEqual(json, i, end, name)
          if (isWanted) found = undefined
          isName = false
        } else if (isWanted) {
          found = decode(json, i, end)
        }
      }
      i = end
    } else if (byte === OBJECT || byte === ARRAY) {
      isName = ++depth === 1
    } else if ((byte | 0x20) === 0x7d) { // ] and }
      depth--
    } else if (byte === COMMA && depth === 1) {
      isName = true
      isWanted = false
    }
  }
  return found
}

/** The index of the closing quote of the string that begins at `start`; the text's length if there is none. */
function endOfString (json: Buffer, start: number): number {
  for (let i = start + 1; i < json.length; i++) {
    const byte = json[i]
    if (byte === QUOTE) return i
    if (byte === BACKSLASH) i++
  }
  return json.length
}

function isEqual (json: Buffer, start: number, end: number, name: string): boolean {
  for (let i = 0, at = start + 1; at < end; i++, at++) {
    // a name with escapes is rare, and has to be decoded to compare it
    if (json[at] === BACKSLASH) return decode(json, start, end) === name
    if (json[at] !== name.charCodeAt(i)) return json.subarray(at, end).includes(BACKSLASH) && decode(json, start, end) === name
  }
  return end - start - 1 === name.length
}

function decode (json: Buffer, start: number, end: number): string | undefined {
  try {
    return JSON.parse(json.toString('utf8', start, end + 1)) as string
  } catch {
    return undefined // the parser of the whole payload reports the error
  }
}
