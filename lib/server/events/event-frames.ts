import { Opcode } from '../../protocol/opcodes.js'
import type { Connection } from '../connection/connection.js'
import { encodeCompact, encodeMessage } from '../connection/encoding.js'
import { TIME_BASE } from '../connection/time-base.js'

/** Most names that get a number. Events with further names are sent as JSON. */
const MAX_NAMES = 1024

/** Most ms after TIME_BASE that a compact event can encode: a varint of five bytes, more than a year. */
const MAX_TIME = 2 ** 35

/** Numbers for event names. All connections of a node share them, so that a frame is encoded once. */
export class EventNumbers {
  readonly #numbers = new Map<string, number>()

  /** @returns undefined if too many names have a number */
  of (event: string): number | undefined {
    let number = this.#numbers.get(event)
    if (number === undefined && this.#numbers.size < MAX_NAMES) this.#numbers.set(event, number = this.#numbers.size)
    return number
  }
}

/** An event for the clients of this node. `json` is its data as text; undefined if it has none. */
export interface EncodedEvent { event: string, json: string | undefined, timestamp: number }

/** The frames of one event. Each form is encoded when the first connection needs it. */
export class EventFrames {
  readonly #event: EncodedEvent
  readonly #threshold: number
  readonly #number: number | undefined
  #plain: Buffer | undefined
  #introduction: Buffer | undefined
  #compact: Buffer | undefined

  constructor (event: EncodedEvent, numbers: EventNumbers, threshold: number) {
    const time = event.timestamp - TIME_BASE
    this.#event = event
    this.#threshold = threshold
    this.#number = time >= 0 && time < MAX_TIME ? numbers.of(event.event) : undefined
  }

  /** The frame for a connection. The first event of a name introduces its number; later ones are compact. */
  for (connection: Connection): Buffer {
    const { json = '', timestamp } = this.#event
    const number = this.#number
    if (connection.protocol < 3 || number === undefined) return (this.#plain ??= this.#encode(''))
    if (knows(connection, number)) return (this.#compact ??= encodeCompact(Opcode.EVENT_COMPACT, number, timestamp - TIME_BASE, json, this.#threshold))
    return (this.#introduction ??= this.#encode(`,"n":${number}`))
  }

  #encode (more: string): Buffer {
    const { event, json, timestamp } = this.#event
    const text = `{"event":${JSON.stringify(event)},${json === undefined ? '' : `"data":${json},`}"timestamp":${timestamp}${more}}`
    return encodeMessage(Opcode.EVENT_S2C, 0, text, this.#threshold)
  }
}

/** Whether a connection knows a number. Marks it as known, with a bit, because a Set of all numbers takes 20 KB. */
function knows (connection: Connection, number: number): boolean {
  let { knownEvents: known } = connection
  const at = number >> 3
  if (known === undefined || at >= known.length) {
    const larger = new Uint8Array(at + 8)
    if (known !== undefined) larger.set(known)
    connection.knownEvents = known = larger
  }
  const bit = 1 << (number & 7)
  const isKnown = (known[at]! & bit) !== 0
  known[at]! |= bit
  return isKnown
}
