/** The types of values that merge: see lib/crdt. */
export type CrdtType = 'pn-counter' | 'lww-register' | 'lww-map' | 'yjs'

/**
 * The types of an application's messages: the type parameter of server and client.
 *
 * Written as an `interface` or a type; its members may be keyed by strings or by string enums.
 * A member that is missing is open: any name, `unknown` data.
 *
 * @example
 * interface AppContract {
 *   rpc: { add: { params: { a: number, b: number }, result: number } }
 *   events: { chat: { text: string } }
 *   state: { dashboard: { visitors: number } }
 *   crdts: { likes: { type: 'pn-counter' }, title: { type: 'lww-register', value: string } }
 * }
 */
export interface DatasoleContract {
  /** method name → what it takes and gives */
  rpc?: object
  /** event name → its data, in both directions */
  events?: object
  /** state key → its value, plain JSON */
  state?: object
  /** CRDT key → its type, and of a register or map its value, plain JSON */
  crdts?: object
}

/** String enums as keys become the strings that they stand for, so that both spellings are accepted. */
type Named<T> = { [K in keyof T & string as `${K}`]: T[K] }
type Section<C, Name extends keyof DatasoleContract, Open> =
  C extends { [K in Name]: infer T } ? (unknown extends T ? Open : object extends T ? Open : Named<T>) : Open

export type RpcMap<C> = Section<C, 'rpc', Record<string, { params: unknown, result: unknown }>>
export type EventMap<C> = Section<C, 'events', Record<string, unknown>>
export type StateMap<C> = Section<C, 'state', Record<string, unknown>>

export type RpcName<C> = keyof RpcMap<C> & string
export type EventName<C> = keyof EventMap<C> & string
export type StateName<C> = keyof StateMap<C> & string

export type RpcParams<C, M extends RpcName<C>> = RpcMap<C>[M] extends { params: infer P } ? P : unknown
export type RpcResult<C, M extends RpcName<C>> = RpcMap<C>[M] extends { result: infer R } ? R : unknown
export type EventData<C, E extends EventName<C>> = EventMap<C>[E]
export type StateValue<C, K extends StateName<C>> = StateMap<C>[K]

type CrdtMap<C> = Section<C, 'crdts', Record<string, { type: CrdtType }>>

export type CrdtName<C> = keyof CrdtMap<C> & string
export type CrdtTypeOf<C, K extends CrdtName<C>> = CrdtMap<C>[K] extends { type: infer T extends CrdtType } ? T : CrdtType

/** The value of a CRDT key. A map's is an object of its fields. Without a contract it is unknown. */
export type CrdtValue<C, K extends CrdtName<C>, T extends CrdtType> =
  T extends 'pn-counter' ? number : T extends 'yjs' ? string[] : CrdtMap<C>[K] extends { value: infer V } ? V : T extends 'lww-map' ? Record<string, unknown> : unknown
