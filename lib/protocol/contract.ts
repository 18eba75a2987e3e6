import type { RpcError } from './errors.js'
import type { Described, In, KeysOf, NameOf, Out, ParamsOf } from './schema-types.js'

/** The types of CRDTs: see lib/crdt. */
export type CrdtType = 'pn-counter' | 'lww-register' | 'lww-map' | 'yjs'

/**
 * The types of an application's messages: the type parameter of server and client.
 *
 * Write it as an `interface` or a type. Its keys may be strings or string enums. A section that is missing allows any
 * name with `unknown` data. The type of a contract made with `defineContract` works too, and may be combined with an
 * interface: `typeof contract & AppContract`.
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
  /** The definition given to `defineContract`, from which the types are derived. */
  definition?: unknown
  /** Methods, by name: parameters, result, and errors. */
  rpc?: object
  /** Events, by name: the data in both directions, or `{ toServer, toClient }`. */
  events?: object
  /** Live state, by key: the value, plain JSON. */
  state?: object
  /** CRDTs, by key: the type, and for a register or map the value, plain JSON. */
  crdts?: object
}

/** Turns enum keys into their strings, so that callers may use either. */
type Named<T> = { [K in keyof T & string as `${K}`]: T[K] }

/** A section of an interface; `unknown` if the section is missing. */
type Written<C, Name extends keyof Described<unknown>> =
  C extends { [K in Name]: infer T } ? (unknown extends T ? unknown : object extends T ? unknown : Named<T>) : unknown

/** A section of a definition; `unknown` if the section is missing. */
type Defined<C, Name extends keyof Described<unknown>> =
  C extends { definition: infer D } ? D extends { readonly [K in Name]: infer T } ? Described<T>[Name] : unknown : unknown

type Section<C, Name extends keyof Described<unknown>, Open, Both = Written<C, Name> & Defined<C, Name>> = unknown extends Both ? Open : Both

export type RpcMap<C> = Section<C, 'rpc', Record<string, { params: unknown, result: unknown }>>
export type EventMap<C> = Section<C, 'events', Record<string, unknown>>
export type StateMap<C> = Section<C, 'state', Record<string, unknown>>
type CrdtMap<C> = Section<C, 'crdts', Record<string, { type: CrdtType }>>

/** The name of a method of the contract; any string if the contract lists no methods. */
export type RpcName<C> = keyof RpcMap<C> & string
/** The name of an event of the contract; any string if the contract lists no events. */
export type EventName<C> = keyof EventMap<C> & string
/** A key of live state: a name in the contract, or a key that matches one of its templates. */
export type StateName<C> = KeysOf<keyof StateMap<C> & string>

type Params<C, M extends RpcName<C>> = RpcMap<C>[M] extends { params: infer P } ? P : unknown
type Result<C, M extends RpcName<C>> = RpcMap<C>[M] extends { result: infer R } ? R : unknown
type Errors<C, M extends RpcName<C>> = RpcMap<C>[M] extends { errors: infer E } ? E : Record<string, unknown>

/** The parameters that a caller passes. */
export type RpcParams<C, M extends RpcName<C>> = In<Params<C, M>>
/** The result that a caller gets. */
export type RpcResult<C, M extends RpcName<C>> = Out<Result<C, M>>
/** The parameters that a handler gets: the caller's, unless a schema transforms them. */
export type HandlerParams<C, M extends RpcName<C>> = Out<Params<C, M>>
/** The result that a handler returns. */
export type HandlerResult<C, M extends RpcName<C>> = In<Result<C, M>>
/** The details of a method's declared errors, by code, as the caller gets them. */
export type RpcErrors<C, M extends RpcName<C>> = { [Code in keyof Errors<C, M> & string]: Out<Errors<C, M>[Code]> }
/** The details of a method's declared errors, by code, as the handler passes them. */
export type HandlerErrors<C, M extends RpcName<C>> = { [Code in keyof Errors<C, M> & string]: In<Errors<C, M>[Code]> }

/** The error of a failed call, with the details that the contract declares for its errors: see `RpcError.is`. */
export type RpcErrorOf<C, M extends RpcName<C>> = RpcError<RpcErrors<C, M>>

/** The type of an event for one direction. Definitions and interfaces may declare `{ toServer, toClient }`. */
type ToServer<T> = T extends { '~toServer': infer P } | { toServer: infer P, toClient: unknown } ? P : T
type ToClient<T> = T extends { '~toClient': infer P } | { toServer: unknown, toClient: infer P } ? P : T

/** The data that clients get with an event from the server. */
export type EventData<C, E extends EventName<C>> = Out<ToClient<EventMap<C>[E]>>
/** The data that server code passes when it sends an event. */
export type BroadcastData<C, E extends EventName<C>> = In<ToClient<EventMap<C>[E]>>
/** The data that a client passes when it sends an event. */
export type SentData<C, E extends EventName<C>> = In<ToServer<EventMap<C>[E]>>
/** The data that server handlers get with an event from a client. */
export type ReceivedData<C, E extends EventName<C>> = Out<ToServer<EventMap<C>[E]>>

/** The value of a key of live state. */
export type StateValue<C, K extends StateName<C>> = StateAt<C, K>
/** `StateValue` without a bound on the key. TypeScript before 5.5 rejects keys of templates under that bound. */
export type StateAt<C, K> = ValueAt<StateMap<C>, K>
type ValueAt<Section, K> = K extends string ? NameOf<Section, K> extends infer Name extends keyof Section ? Section[Name] : never : never

type KeyPattern<C> = (keyof StateMap<C> | keyof CrdtMap<C>) & string

/** The contract's name or template that a key matches, with its parameters; both undefined if none matches. */
export type MatchedKey<C> = { pattern?: undefined, params?: undefined } | (string extends KeyPattern<C>
  ? { pattern: string, params: Readonly<Record<string, string>> }
  : { [Name in KeyPattern<C>]: { pattern: Name, params: Readonly<ParamsOf<Name>> } }[KeyPattern<C>])

/** A key of a CRDT: a name in the contract, or a key that matches one of its templates. */
export type CrdtName<C> = KeysOf<keyof CrdtMap<C> & string>
type CrdtAt<C, K> = ValueAt<CrdtMap<C>, K>
/** The type of a key's CRDT; any of the four if the contract does not declare it. */
export type CrdtTypeOf<C, K> = CrdtAt<C, K> extends { type: infer T extends CrdtType } ? T : CrdtAt<C, K> extends infer T extends CrdtType ? T : CrdtType

/** The value of a CRDT; for a map, an object of its fields. `unknown` if the contract does not declare it. */
export type CrdtValue<C, K, T> =
  T extends 'pn-counter' ? number : T extends 'yjs' ? string[] : CrdtAt<C, K> extends { value: infer V } ? V : T extends 'lww-map' ? Record<string, unknown> : unknown
