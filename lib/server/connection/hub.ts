import { randomBytes, randomUUID } from 'node:crypto'
import { invalidArgument } from '../../protocol/errors.js'
import { isObject } from '../config/checks.js'
import type { ConnectionContext, TagListener } from '../context/connection-context.js'
import type { Connection } from './connection.js'

/** Selects the union of its members, and of several values of one member. */
export interface Selector {
  /** By id. */
  connection?: string | string[]
  /** By `userId`: all connections of the user. */
  user?: string | string[]
  /** By tag: all connections that have it. */
  tag?: string | string[]
}

/** The receivers of a broadcast. */
export interface Target {
  /** The connections that get it. Default: all. */
  to?: Selector
  /** Connections that do not. Default: none. */
  except?: Selector
}

const SELECTS = ['connection', 'user', 'tag'] as const satisfies Array<keyof Selector>

/**
 * Checks a target strictly, because a typing error in it could send a broadcast to everyone.
 * @param event name of the event, for errors
 * @throws TypeError `INVALID_ARGUMENT`
 */
export function checkTarget (event: string, target: Target): void {
  const refuse = (path: string, why: string): never => { throw invalidArgument(`broadcast("${event}"): ${path} ${why}`) }
  if (typeof event !== 'string') throw invalidArgument('broadcast: the event must be a string')
  if (!isObject(target)) refuse('target', 'must be an object')
  for (const [name, selector] of Object.entries(target) as [string, Selector | undefined][]) {
    if (name !== 'to' && name !== 'except') refuse(`target.${name}`, 'is unknown: use to or except')
    if (selector !== undefined) checkSelector(`broadcast("${event}")`, `target.${name}`, selector)
  }
}

/** @throws TypeError `INVALID_ARGUMENT` */
export function checkSelector (what: string, path: string, selector: Selector): void {
  const refuse = (path: string, why: string): never => { throw invalidArgument(`${what}: ${path} ${why}`) }
  if (!isObject(selector)) refuse(path, 'must be an object')
  for (const [member, value] of Object.entries(selector)) {
    if (!SELECTS.includes(member as keyof Selector)) refuse(`${path}.${member}`, `is unknown: use ${SELECTS.join(', ')}`)
    if (value !== undefined && !list(value).every((each) => typeof each === 'string')) refuse(`${path}.${member}`, 'must be a string or a list of strings')
  }
}

/** Called when a connection that gets broadcasts joins a user or a tag, and when it leaves. */
export interface MemberListener {
  /** @returns a promise, which does not reject, that other nodes' broadcasts arrive; undefined if they already do */
  joined (kind: 'user' | 'tag', name: string): Promise<void> | undefined
  left (kind: 'user' | 'tag', name: string): void
}

/** Characters of a connection's id that identify its hub. */
const PLACE = 8

/** @returns the topic of the hub that may have the connection: see `Hub.topic` */
export function topicOf (connectionId: string): string {
  return `node:${connectionId.slice(0, PLACE)}`
}

/** The connections of this node, by connection, user and tag. */
export class Hub implements TagListener {
  /** Prefix of the ids of its connections. Another hub may have the same, though rarely. */
  readonly #place = randomBytes(PLACE / 2).toString('hex')
  /** The topic that this node subscribes to, for messages to single connections. */
  readonly topic = topicOf(this.#place)
  readonly #connections = new Map<string, Connection>()
  readonly #users = new Map<string, Set<Connection>>()
  readonly #tags = new Map<string, Set<Connection>>()
  /** Contexts that wait for the `onConnect` hooks, by user. */
  readonly #arriving = new Map<string, Set<ConnectionContext>>()
  #listener: MemberListener | undefined
  #joining: Promise<unknown> | undefined

  get size (): number { return this.#connections.size }
  get users (): number { return this.#users.size }

  /**
   * Pending while a connection has joined a user or a tag for which broadcasts of other nodes do not arrive yet. Other
   * nodes should not learn of it before. It does not reject.
   */
  get joining (): Promise<unknown> | undefined { return this.#joining }

  [Symbol.iterator] (): Iterator<Connection> { return this.#connections.values() }

  /** A UUID that begins with the hub's prefix. */
  newId (): string {
    // `join` copies; a string made by `+` would keep its parts in memory
    return [this.#place, randomUUID().slice(PLACE)].join('')
  }

  has (connectionId: string): boolean {
    return this.#connections.has(connectionId)
  }

  /** Calls the listener for the present members, and for all changes from now on. */
  follow (listener: MemberListener): void {
    this.#listener = listener
    for (const connection of this.#connections.values()) {
      const { userId, tags } = connection.context
      if (userId !== undefined) this.#join(connection, 'user', userId)
      for (const tag of tags) this.#join(connection, 'tag', tag)
    }
  }

  /** Counts the user as present until `add` or `left`. */
  arriving (context: ConnectionContext): void {
    if (context.userId !== undefined) put(this.#arriving, context.userId, context)
  }

  /** Ends `arriving` for a context that does not become a connection. */
  left (context: ConnectionContext): void {
    if (context.userId !== undefined) take(this.#arriving, context.userId, context)
  }

  add (connection: Connection): void {
    const { context } = connection
    this.left(context)
    this.#connections.set(connection.id, connection)
    if (context.userId !== undefined) {
      put(this.#users, context.userId, connection)
      this.#join(connection, 'user', context.userId)
    }
    context.listen(this)
  }

  /** Called only between `add` and `remove`, like `untagged`. */
  tagged (tag: string, { connectionId }: ConnectionContext): void {
    const connection = this.#connections.get(connectionId)!
    put(this.#tags, tag, connection)
    this.#join(connection, 'tag', tag)
  }

  untagged (tag: string, { connectionId }: ConnectionContext): void {
    this.#untag(this.#connections.get(connectionId)!, tag)
  }

  #untag (connection: Connection, tag: string): void {
    take(this.#tags, tag, connection)
    this.#leave(connection, 'tag', tag)
  }

  remove (connection: Connection): void {
    const { context } = connection
    if (!this.#connections.delete(connection.id)) return
    context.listen(undefined)
    if (context.userId !== undefined) {
      take(this.#users, context.userId, connection)
      this.#leave(connection, 'user', context.userId)
    }
    for (const tag of context.tags) this.#untag(connection, tag)
  }

  #join (connection: Connection, kind: 'user' | 'tag', name: string): void {
    // a request ends with its answer and gets no broadcasts
    if (this.#listener === undefined || connection.context.transport === 'http') return
    const heard = this.#listener.joined(kind, name)
    if (heard === undefined) return
    connection.hold(heard)
    if (this.#joining === heard) return
    const joining = this.#joining = this.#joining === undefined ? heard : Promise.all([this.#joining, heard])
    void joining.then(() => { if (this.#joining === joining) this.#joining = undefined })
  }

  #leave ({ context }: Connection, kind: 'user' | 'tag', name: string): void {
    if (context.transport !== 'http') this.#listener?.left(kind, name)
  }

  ofUser (userId: string): Iterable<Connection> {
    return this.#users.get(userId) ?? []
  }

  /** Whether a connection of the user is open or waits for its `onConnect` hooks. */
  hasUser (userId: string): boolean {
    return this.#users.has(userId) || this.#arriving.has(userId)
  }

  select ({ to, except }: Target): Iterable<Connection> {
    const included = to === undefined ? this.#connections.values() : this.#union(to)
    if (except === undefined) return included
    const excluded = this.#union(except)
    return Array.from(included).filter((connection) => !excluded.has(connection))
  }

  #union (selector: Selector): Set<Connection> {
    const union = new Set<Connection>()
    for (const id of list(selector.connection)) {
      const connection = this.#connections.get(id)
      if (connection !== undefined) union.add(connection)
    }
    for (const user of list(selector.user)) for (const connection of this.#users.get(user) ?? []) union.add(connection)
    for (const tag of list(selector.tag)) for (const connection of this.#tags.get(tag) ?? []) union.add(connection)
    return union
  }
}

/** The values of a selector's member. */
export function list (value: string | string[] | undefined): string[] {
  return value === undefined ? [] : Array.isArray(value) ? value : [value]
}

function put<T> (index: Map<string, Set<T>>, name: string, one: T): void {
  const set = index.get(name)
  if (set === undefined) index.set(name, new Set([one]))
  else set.add(one)
}

function take<T> (index: Map<string, Set<T>>, name: string, one: T): void {
  const set = index.get(name)
  if (set?.delete(one) && set.size === 0) index.delete(name)
}
