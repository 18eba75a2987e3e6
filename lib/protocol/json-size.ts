import { isContainer } from './json.js'

/** The length in bytes of `JSON.stringify(value)` in UTF-8, for plain JSON. */
export function jsonSize (value: unknown): number {
  if (typeof value === 'string') return stringSize(value)
  if (typeof value === 'number') return numberSize(value)
  if (!isContainer(value)) return value === false ? 5 : 4
  let size = 0
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length; i++) size += jsonSize(value[i]) + 1
  } else {
    for (const key of Object.keys(value)) {
      const member = value[key]
      if (member !== undefined) size += stringSize(key) + jsonSize(member) + 2
    }
  }
  // two brackets, and one comma less than there are children
  return size === 0 ? 2 : size + 1
}

function numberSize (value: number): number {
  if ((value | 0) !== value) return String(value).length
  // most numbers are small integers: counting their digits is faster than formatting them
  let size = value < 0 ? 2 : 1
  for (let rest = Math.abs(value); rest >= 10; rest /= 10) size++
  return size
}

function stringSize (text: string): number {
  let size = text.length + 2
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i)
    if (unit < 0x80) {
      if (unit === 0x22 || unit === 0x5c) size += 1
      else if (unit < 0x20) size += (unit >= 0x08 && unit <= 0x0d && unit !== 0x0b) ? 1 : 5
    } else if (unit < 0x800) {
      size += 1
    } else if ((unit & 0xf800) !== 0xd800) {
      size += 2
    } else if (unit < 0xdc00 && (text.charCodeAt(i + 1) & 0xfc00) === 0xdc00) {
      size += 2 // four bytes for two units
      i++
    } else {
      size += 5 // a lone surrogate is written as \udXXX
    }
  }
  return size
}

/** Whether the JSON text of a value is shorter than `length`. Approximate; stops after about `length` characters. */
export function isShorter (value: unknown, length: number): boolean {
  return roomAfter(value, length) > 0
}

function roomAfter (value: unknown, room: number): number {
  if (!isContainer(value)) return room - (typeof value === 'string' ? value.length + 2 : 5)
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length && room > 0; i++) room = roomAfter(value[i], room - 1)
  } else {
    for (const key of Object.keys(value)) if (room > 0) room = roomAfter(value[key], room - key.length - 4)
  }
  return room - 2
}
