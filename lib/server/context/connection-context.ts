import { DatasoleError, invalidArgument } from '../../protocol/errors.js'
import type { ProtocolVersion } from '../../protocol/opcodes.js'
import type { Logger } from './logger.js'

/** The result of an auth handler. */
export interface AuthResult {
  /** Whether the client may connect. */
  authenticated: boolean
  /** Unique user identifier. */
  userId?: string
  /** Roles that hooks and handlers look at. Default none. */
  roles?: string[]
  /** Data for handlers. */
  metadata?: Record<string, unknown>
  /**
   * Unix time in ms (a JWT's `exp` is in seconds: times 1,000). Before that time the server asks the client for a new
   * token; without one it closes the connection with 4401. Default: none.
   */
  expiresAt?: number
}

/** The identity that the upgrade has established. */
export interface Identity {
  /** Undefined on a server without an auth handler. */
  auth: AuthResult | undefined
  remoteAddress: string
  protocol: ProtocolVersion
  transport: Transport
}

/** `websocket`: a socket that stays. `http`: a request of `datasole/http`, which ends with its answer. */
export type Transport = 'websocket' | 'http'

/** Most tags of a connection, unless the option `maxTags` is set; below, most characters of one tag. */
export const MAX_TAGS = 1000
const MAX_TAG = 1024

/** The context of hooks and event handlers: the connection that they work for. */
export interface MessageContext {
  /** The newest result of the auth handler. After a token refresh, `roles` and `metadata` may have changed. */
  readonly auth?: AuthResult
  /** The id of the connection. */
  connectionId: string
  /** The connection that sent the message. */
  connection: ConnectionContext
  /** The server's logger; each line has the `connectionId`. */
  log: Logger
}

/** A snapshot of a connection, from which a worker makes its copy. */
export interface ConnectionState {
  connectionId: string
  auth: AuthResult
  remoteAddress: string
  protocol: ProtocolVersion
  transport: Transport
  tags: Iterable<string>
  values: Iterable<[key: string, value: unknown]>
}

/** Gets every change of connections' tags. The hub uses it to index connections by tag. */
export interface TagListener {
  tagged (tag: string, context: ConnectionContext): void
  untagged (tag: string, context: ConnectionContext): void
}

/** A connection, and the values that server code keeps for it. */
export class ConnectionContext {
  /** The user. It does not change during the connection. */
  readonly userId: string | undefined
  #auth: AuthResult | undefined
  #values: Map<string, unknown> | undefined
  #tags: Set<string> | undefined
  #listener: TagListener | undefined
  /** @internal Counts changes, so that copies know whether they are out of date. */
  revision = 0

  constructor (
    /** Unique on all nodes. */
    readonly connectionId: string,
    auth: AuthResult | undefined,
    /** The client's address, as the HTTP layer saw it (behind proxies: see Fastify's `trustProxy`). */
    readonly remoteAddress: string,
    /** Protocol version, 1 to 3. */
    readonly protocol: ProtocolVersion,
    /** @internal */
    readonly maxTags: number = MAX_TAGS,
    /** `http` for a request of `datasole/http`, which ends with its answer. */
    readonly transport: Transport = 'websocket'
  ) {
    this.#auth = auth
    this.userId = auth === undefined ? remoteAddress : auth.userId
  }

  /** The newest result of the auth handler. Without a handler, a result that admits everyone. */
  get auth (): AuthResult { return (this.#auth ??= { authenticated: true, userId: this.userId }) }
  /** The roles of the auth result; empty if it has none. */
  get roles (): string[] { return this.auth.roles ?? [] }
  /** The metadata of the auth result; empty if it has none. */
  get metadata (): Record<string, unknown> { return this.auth.metadata ?? {} }

  /** @internal */
  renew (auth: AuthResult): void {
    this.#auth = auth
    this.revision++
  }

  /**
   * Groups that broadcasts can select, like rooms: `ctx.connection.tags.add('room:1')`. `add` throws a DatasoleError
   * `LIMIT_EXCEEDED` beyond `maxTags`, and for a tag over 1,024 characters.
   */
  get tags (): Set<string> { return (this.#tags ??= new TagSet(this)) }

  /** Reads a stored value. @param key its name @returns undefined if there is none */
  get<T = unknown> (key: string): T | undefined { return this.#values?.get(key) as T | undefined }
  /** Stores a value for this connection. @param key its name, not chosen by clients @param value anything */
  set (key: string, value: unknown): void {
    (this.#values ??= new Map()).set(key, value)
    this.revision++
  }

  /** @internal */
  get state (): ConnectionState {
    const { connectionId, auth, remoteAddress, protocol, transport } = this
    return { connectionId, auth, remoteAddress, protocol, transport, tags: this.#tags ?? [], values: this.#values ?? [] }
  }

  /** @internal Connects the tags with the hub's index, and adds the present tags to it. */
  listen (listener: TagListener | undefined): void {
    this.#listener = listener
    if (listener !== undefined && this.#tags !== undefined) for (const tag of this.#tags) listener.tagged(tag, this)
  }

  /** @internal */
  get tagListener (): TagListener | undefined { return this.#listener }
}

class TagSet extends Set<string> {
  readonly #context: ConnectionContext

  constructor (context: ConnectionContext) {
    super()
    this.#context = context
  }

  override add (tag: string): this {
    if (typeof tag !== 'string') throw invalidArgument('a tag must be a string')
    if (!this.has(tag)) {
      // bounded, because tags often come from clients
      const { maxTags } = this.#context
      if (this.size >= maxTags) throw new DatasoleError('LIMIT_EXCEEDED', `a connection has at most ${maxTags} tags (maxTags)`)
      if (tag.length > MAX_TAG) throw new DatasoleError('LIMIT_EXCEEDED', `a tag has at most ${MAX_TAG} characters`)
      super.add(tag)
      this.#context.revision++
      this.#context.tagListener?.tagged(tag, this.#context)
    }
    return this
  }

  override delete (tag: string): boolean {
    if (!super.delete(tag)) return false
    this.#context.revision++
    this.#context.tagListener?.untagged(tag, this.#context)
    return true
  }

  override clear (): void {
    for (const tag of this) this.delete(tag)
  }
}
