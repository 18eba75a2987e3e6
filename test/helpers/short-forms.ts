import { Opcode } from '../../lib/protocol/opcodes.js'
import type { Received } from './wire.js'

interface Position { key: string, epoch: string, version: number }

const OPERATIONS: Record<string, string> = { a: 'add', r: 'replace', d: 'remove', t: 'test', m: 'move', c: 'copy' }

/** What a connection of version 3 has told its client, and what its compact frames stand for: written from PROTOCOL.md, not from the code. */
export class ShortForms {
  /** Frames that came in their short form. */
  count = 0
  #at = 0
  readonly #names = new Map<number, string>()
  readonly #keys = new Map<number, Position>()

  /** A frame as version 2 would have sent it. */
  long (frame: Buffer, isDeflated: boolean): Received {
    const numbers: number[] = []
    let at = 1
    while (numbers.length < 2) {
      let number = 0n
      let shift = 0n
      while (frame[at]! > 127) {
        number += BigInt(frame[at++]! - 128) << shift
        shift += 7n
      }
      number += BigInt(frame[at++]!) << shift
      numbers.push(Number(number))
    }
    const [number, second] = numbers as [number, number]
    const text = frame.toString('utf8', at)
    this.count++
    if (frame[0] === Opcode.EVENT_COMPACT) {
      const event = this.#names.get(number)
      if (event === undefined) throw new Error(`an event of number ${number}, which was not told`)
      return { opcode: Opcode.EVENT_S2C, id: 0, payload: { event, ...text !== '' && { data: JSON.parse(text) }, timestamp: this.#at + second }, deflated: isDeflated }
    }
    const position = this.#keys.get(number)
    if (position === undefined) throw new Error(`a patch of number ${number}, which was not told`)
    const { key, epoch, version: from } = position
    position.version += second
    return { opcode: Opcode.STATE_PATCH, id: 0, payload: { key, epoch, from, version: position.version, patches: operations(JSON.parse(text)) }, deflated: isDeflated }
  }

  /** The number that stands for a key. */
  numberOf (key: string): number {
    return [...this.#keys].findLast(([, position]) => position.key === key)![0]
  }

  /** Takes the numbers out of a frame. */
  note (opcode: number, payload: any): void {
    if (opcode === Opcode.WELCOME && payload.at !== undefined) this.#at = payload.at
    if (payload?.n === undefined) return
    if (opcode === Opcode.EVENT_S2C) this.#names.set(payload.n, payload.event)
    else this.#keys.set(payload.n, { key: payload.key, epoch: payload.epoch, version: payload.version })
    delete payload.n
  }
}

function operations (list: any[]): object[] {
  const result = []
  let segments: string[] = []
  const at = (base: string[], text: string): string[] => {
    const [, dropped, rest] = /^(\d*)((?:\/.*)?)$/s.exec(text)!
    return [...base.slice(0, base.length - Number(dropped)), ...rest!.split('/').slice(1)]
  }
  const pointer = (segments: string[]): string => segments.map((segment) => `/${segment}`).join('')
  while (list.length > 0) {
    const text: string = list.shift()
    const op = OPERATIONS[text[0]!]
    if (op === undefined) throw new Error(`the operation ${text}`)
    segments = at(segments, text.slice(1))
    const path = pointer(segments)
    if (op === 'remove') result.push({ op, path })
    else if (op === 'move' || op === 'copy') result.push({ op, from: pointer(at(segments, list.shift())), path })
    else result.push({ op, path, value: list.shift() })
  }
  return result
}
