import type { RawSocket } from './raw-socket.js'
import type { Replica } from './replica.js'

/** A value of live state: records of about 118 bytes of JSON. */
export interface Item { id: number, name: string, email: string, score: number, seen: number, active: boolean }
export interface Value { records: Item[] }

/** Keys that clients subscribe to, and the two ways to change them. */
export interface PeerState {
  create (key: string, value: Value): unknown
  /** Two fields of one record become `n`. */
  update (key: string, index: number, n: number): unknown
  /** A whole new value, which shares the records that did not change. */
  replace? (key: string, value: Value): unknown
}

/** The server of a peer, in a process of its own. */
export interface Peer {
  port: number
  /** The event `tick` to every connection. */
  broadcast (data: unknown): unknown
  state?: PeerState
}

export interface PeerOptions {
  /** Set if the server is one node of two. */
  redis?: string
  /** Whether clients that come back get what they missed, where that is an option. */
  recovery: boolean
}

/** Everything a message from a server can be to the load generator. */
export const Kind = { CONTROL: 0, READY: 1, EVENT: 2, REPLY: 3, PATCH: 4, SNAPSHOT: 5 } as const
export type Kind = (typeof Kind)[keyof typeof Kind]

/** The cheap client of a peer: its frames are built once, and of those that arrive it reads a few bytes. */
export interface Protocol {
  /** Of the upgrade, or how to get one. */
  path: string | ((port: number) => Promise<string>)
  subprotocol?: string
  /** Sent once the connection is open. */
  hello?: (socket: RawSocket) => Uint8Array[]
  /** Whether a connection is usable as soon as it is open; otherwise `read` says READY. */
  isReadyWhenOpen: boolean
  /** Messages of up to 4 KB are there in full, of others the first bytes. May answer, and set `socket.covers`. */
  read (head: Buffer, start: number, end: number, socket: RawSocket, opcode: number): Kind
  /** A call of `echo` with `{ text: 'hello', n: id }`; ids are 1 to 100. */
  echo (id: number): Uint8Array
  /** None where a connection gets the state by itself. */
  subscribe?: (key: string, socket: RawSocket, isBack: boolean) => Uint8Array[]
  /** Whether clients that come back get what they missed, and not the whole value. */
  recovers?: boolean
  /** For the checks: takes every message of a connection, as a whole and in order, and tells the replica what it says. */
  reader (to: Replica, socket: RawSocket): Promise<(message: Buffer) => void>
}

/** A file of `bench/peers/adapters`. */
export interface Adapter {
  start (options: PeerOptions): Promise<Peer>
  protocol: Protocol
}

/** A package of bench/package.json: its types are unknown here, since it need not be installed to build. */
export async function load<T> (name: string): Promise<T> {
  const { default: from } = await import(new URL('../../../bench/import.js', import.meta.url).href) as { default: (name: string) => Promise<T> }
  return await from(name)
}
