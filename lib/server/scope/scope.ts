import type { DatasoleContract, MatchedKey } from '../../protocol/contract.js'
import type { ConnectionContext, MessageContext } from '../context/connection-context.js'
import { DatasoleError, invalidArgument, isThenable, messageOf } from '../../protocol/errors.js'
import type { RpcContext } from '../context/rpc-context.js'
import type { Operation } from '../../protocol/messages.js'

type Result = void | Promise<void>

/**
 * The hooks of `ds.addHook`. They may be asynchronous, and run in order of registration. After a throw the others
 * do not run. A DatasoleError, an RpcError, an error with `statusCode` 401 or 403, and a plain `Error` refuse. Any
 * other error is a failure, and clients may try again.
 */
export interface Hooks<C = DatasoleContract> {
  /** Before the upgrade is answered: HTTP 403 for a refusal, 503 for a failure. Global, whichever scope adds it. */
  onConnect: (connection: ConnectionContext) => Result
  /** After the socket ended. Global, whichever scope adds it; a throw is logged. */
  onDisconnect: (connection: ConnectionContext, closeCode: number) => Result
  /** Before validation and handler. The client gets the error's numeric `code` and `data`, or -32003. */
  preRpc: (ctx: RpcContext, call: { method: string, params: unknown }) => Result
  /** Before validation and handlers of a client's event. The client's `onError` gets the refusal. */
  preEvent: (ctx: MessageContext, message: { event: string, data: unknown }) => Result
  /** Before a subscription; for version 1 clients per live key. `pattern` and `params` are set for a contract's key. */
  preSubscribe: (ctx: MessageContext, subscription: { key: string } & MatchedKey<C>) => Result
  /** Before a client's change of a key. `patches` or `data` is the change; for a CRDT `data` is the operation. */
  prePush: (ctx: MessageContext, push: { key: string, patches?: Operation[], data?: unknown } & MatchedKey<C>) => Result
}

/** The name of a hook. */
export type HookName = keyof Hooks

const NAMES: readonly HookName[] = ['onConnect', 'onDisconnect', 'preRpc', 'preEvent', 'preSubscribe', 'prePush']

/** Compiles a JSON Schema to a check that returns the errors, or null. */
export type SchemaCompiler = (schema: object) => (data: unknown) => object[] | null

/** A service that a plugin provides to its scope and the scopes below it: a backend, limits, sessions. */
export class Service<T> {
  declare readonly type: T
  constructor (readonly name: string) {}
}

interface Provided { readonly value: unknown, readonly plugin: string }

/**
 * Encapsulation, like Fastify's: hooks, schema compilers and services apply to all registrations in their scope and
 * below it. The nearest service up the tree wins. Names without a scope belong to the root.
 */
export class Scope {
  readonly root: Scope
  readonly #services = new Map<Service<unknown>, Provided>()
  /** Used at the root only. */
  readonly #providers: Array<{ service: Service<unknown>, scope: Scope }> = []
  /** Services that were already used here, with the call that used them. It is too late to provide these. */
  readonly #looked = new Map<Service<unknown>, string>()
  readonly #compileSchema: SchemaCompiler | undefined
  readonly #own = new Map<HookName, Array<Hooks[HookName]>>()
  readonly #chains = new Map<HookName, ReadonlyArray<Hooks[HookName]>>()
  /** Used at the root only: counts added hooks, so that cached chains are rebuilt after a late hook. */
  #generation = 0
  #chainsOf = 0

  /** @param name name of the scope, for errors */
  constructor (readonly parent?: Scope, compileSchema?: SchemaCompiler, readonly name = 'root') {
    this.#compileSchema = compileSchema ?? (parent === undefined ? undefined : parent.#compileSchema)
    this.root = parent?.root ?? this
  }

  /**
   * Provides a service to this scope and the scopes below.
   * @param plugin the plugin that provides it, for errors
   * @throws DatasoleError `DUPLICATE_REGISTRATION` if the scope has one, `TOO_LATE` if the service was used already
   */
  provide<T> (service: Service<T>, value: T, plugin: string): void {
    const own = this.#services.get(service)
    if (own !== undefined) throw new DatasoleError('DUPLICATE_REGISTRATION', `${plugin}: the scope "${this.name}" already has a ${service.name}, from ${own.plugin}`)
    const used = this.#looked.get(service)
    if (used !== undefined) throw new DatasoleError('TOO_LATE', `${plugin} is registered too late in the scope "${this.name}": ${used} already uses the ${service.name} of ${this.#nearest(service)?.plugin ?? 'the defaults'}. Register the plugin first`)
    this.#services.set(service, { value, plugin })
    this.root.#providers.push({ service, scope: this })
  }

  /** Every scope of the tree that provides the service. */
  providers (service: Service<unknown>): Scope[] {
    return this.root.#providers.filter((each) => each.service === service).map(({ scope }) => scope)
  }

  /** The scope's index among providing scopes, in order of registration. It is the same on every node. */
  get ordinal (): number {
    return [...new Set(this.root.#providers.map(({ scope }) => scope))].indexOf(this)
  }

  /** Undefined if no scope from here up provides it. */
  provided<T> (service: Service<T>): T | undefined {
    return this.#nearest(service)?.value as T | undefined
  }

  /**
   * The nearest scope, from here up, that provides one of the services; the root if none does.
   * @param user the call that is going to use the services, for the error of a plugin that comes too late
   */
  ownerOf (services: ReadonlyArray<Service<unknown>>, user?: string): Scope {
    if (user !== undefined) for (const service of services) if (!this.#looked.has(service)) this.#looked.set(service, user)
    if (this.parent === undefined || services.some((service) => this.#services.has(service))) return this
    return this.parent.ownerOf(services, user)
  }

  #nearest (service: Service<unknown>): Provided | undefined {
    return this.#services.get(service) ?? (this.parent === undefined ? undefined : this.parent.#nearest(service))
  }

  /**
   * @param what names the owner of the schema in the error
   * @throws DatasoleError `INVALID_OPTION`
   */
  compile (what: string, schema: object): ReturnType<SchemaCompiler> | undefined {
    try {
      return this.#compileSchema?.(schema)
    } catch (error) {
      throw new DatasoleError('INVALID_OPTION', `${what} cannot be compiled: ${messageOf(error)}`, { cause: error })
    }
  }

  add<N extends HookName> (name: N, hook: Hooks[N]): void {
    if (!NAMES.includes(name)) throw invalidArgument(`unknown hook "${String(name)}": the hooks are ${NAMES.join(', ')}`)
    if (typeof hook !== 'function') throw invalidArgument(`the ${name} hook must be a function`)
    const scope = name === 'onConnect' || name === 'onDisconnect' ? this.root : this
    const own = scope.#own.get(name)
    if (own === undefined) scope.#own.set(name, [hook])
    else own.push(hook)
    this.root.#generation++
  }

  /** The hooks that apply in this scope, outermost first. */
  chain<N extends HookName> (name: N): ReadonlyArray<Hooks[N]> {
    if (this.#chainsOf !== this.root.#generation) {
      this.#chains.clear()
      this.#chainsOf = this.root.#generation
    }
    let chain = this.#chains.get(name)
    if (chain === undefined) {
      chain = [...this.parent?.chain(name) ?? [], ...this.#own.get(name) ?? []]
      this.#chains.set(name, chain)
    }
    return chain as ReadonlyArray<Hooks[N]>
  }
}

/** Runs hooks in order. Returns a promise only if one is asynchronous; throws or rejects as they do. */
export function runHooks<A extends unknown[]> (hooks: ReadonlyArray<(...args: A) => unknown>, ...args: A): Promise<void> | undefined {
  for (let i = 0; i < hooks.length; i++) {
    const result = hooks[i]!(...args)
    if (isThenable(result)) return runRest(result, hooks, i + 1, args)
  }
  return undefined
}

async function runRest<A extends unknown[]> (first: PromiseLike<unknown>, hooks: ReadonlyArray<(...args: A) => unknown>, from: number, args: A): Promise<void> {
  await first
  for (let i = from; i < hooks.length; i++) await hooks[i]!(...args)
}

type Step<H> = Map<H, { once: H, next: Step<H> }>

/** Thrown by a hook in a later chain. The chain in which the hook ran first got the hook's own error. */
export const REFUSED = Symbol('refused')

/** For several chains and one message: runs the hooks that the chains have in common at their start only once. */
export function sharedHooks<A extends unknown[]> (): (chain: ReadonlyArray<(...args: A) => unknown>) => Array<(...args: A) => unknown> {
  const first: Step<(...args: A) => unknown> = new Map()
  return (chain) => {
    let steps = first
    return chain.map((hook) => {
      let step = steps.get(hook)
      if (step === undefined) steps.set(hook, step = { once: once(hook), next: new Map() })
      steps = step.next
      return step.once
    })
  }
}

/** Runs the hook once, and repeats its decision on later calls. */
function once<A extends unknown[]> (hook: (...args: A) => unknown): (...args: A) => unknown {
  const refuse = (): never => { throw REFUSED }
  let decided: (() => unknown) | undefined
  return (...args) => {
    if (decided !== undefined) return decided()
    try {
      const result = hook(...args)
      if (!isThenable(result)) {
        decided = () => undefined
        return undefined
      }
      const running = Promise.resolve(result)
      decided = () => running.catch(refuse)
      return running
    } catch (error) {
      decided = refuse
      throw error
    }
  }
}
