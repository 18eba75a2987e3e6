/*
 * Types of schemas, described by their shape. A client gets its types from a contract without importing a schema library.
 */

/** The input and the output type of a schema. */
export interface Passage<In, Out> { readonly '~in': In, readonly '~out': Out }

/** The input of a schema. */
export type InputOf<S> =
  S extends { readonly '~standard': { readonly types?: { readonly input: infer I } | undefined } } ? I : JsonOf<S>

/** The output of a schema: its input, unless it transforms it. */
export type OutputOf<S> =
  S extends { readonly '~standard': { readonly types?: { readonly output: infer O } | undefined } } ? O : JsonOf<S>

/** TypeBox has the type in `static`, JSON Schema in `~type`, which the functions `jsonSchema` and `type` add. */
type JsonOf<S> = S extends { static: infer T } ? T : S extends { readonly '~type'?: readonly [infer T] } ? T : unknown

/** The passage of the schema in member `Name`, or `Without` if there is none. */
type PassageOf<S, Name extends string, Without> = S extends { readonly [N in Name]: infer T } ? Passage<InputOf<T>, OutputOf<T>> : Without

type CrdtOf<T> =
  T extends string ? { type: T }
    : T extends { type: infer Type, value: infer S } ? { type: Type, value: InputOf<S> }
      : T extends { type: infer Type, fields: infer F, values: infer S } ? { type: Type, value: { -readonly [K in keyof F]?: InputOf<F[K]> } & Record<string, InputOf<S>> }
        : T extends { type: infer Type, fields: infer F } ? { type: Type, value: { -readonly [K in keyof F]?: InputOf<F[K]> } }
          : T extends { type: infer Type, values: infer S } ? { type: Type, value: Record<string, InputOf<S>> }
            : T

/** Sections of a contract's definition, in the form that an interface has. */
export interface Described<T> {
  rpc: { -readonly [M in keyof T]: {
    params: PassageOf<T[M], 'params', undefined>
    result: PassageOf<T[M], 'result', unknown>
    errors: T[M] extends { readonly errors: infer E } ? { -readonly [Code in keyof E]: Passage<InputOf<E[Code]>, OutputOf<E[Code]>> } : Record<never, never>
  } }
  events: { -readonly [E in keyof T]: T[E] extends { readonly toServer: unknown } | { readonly toClient: unknown }
    ? { '~toServer': PassageOf<T[E], 'toServer', never>, '~toClient': PassageOf<T[E], 'toClient', never> }
    : Passage<InputOf<T[E]>, OutputOf<T[E]>> }
  state: { -readonly [K in keyof T]: InputOf<T[K]> }
  crdts: { -readonly [K in keyof T]: CrdtOf<T[K]> }
}

/** The input of a passage. Any other type stays as it is. */
export type In<T> = T extends Passage<infer I, unknown> ? I : T
/** The output of a passage. Any other type stays as it is. */
export type Out<T> = T extends Passage<unknown, infer O> ? O : T

/** The keys that match a template: `room:{id}` becomes `room:${string}`. */
export type KeysOf<Name extends string> = Name extends `${infer Before}{${string}}${infer After}` ? `${Before}${string}${KeysOf<After>}` : Name

/** The parameters of a template: `room:{id}` has `{ id: string }`. */
export type ParamsOf<Name extends string> = Name extends `${string}{${infer Param}}${infer After}` ? { [P in Param]: string } & ParamsOf<After> : unknown

/** The names of a section that match a key. */
type Candidates<Names extends string, Key extends string> = Names extends string ? Key extends KeysOf<Names> ? Names : never : never

/** Whether another candidate is more literal than `Name`. */
type IsBeaten<Name extends string, All extends string> =
  true extends (All extends string ? All extends Name ? false : KeysOf<All> extends KeysOf<Name> ? true : false : never) ? true : false

type Narrowest<Names extends string, All extends string = Names> = Names extends string ? IsBeaten<Names, All> extends true ? never : Names : never

/** The name in a section that a key belongs to: an equal name, or the most literal template that matches. */
export type NameOf<Section, Key extends string> = Key extends keyof Section ? Key : Narrowest<Candidates<keyof Section & string, Key>>
