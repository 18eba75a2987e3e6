import { CloseCode } from '../../protocol/codes.js'
import { invalidArgument } from '../../protocol/errors.js'
import { checkCloseReason, type PendingUpgrades } from '../auth/pending-upgrades.js'
import type { Answer, ConnectionCard, NodeCard, Question } from '../bus/bus.js'
import { isObject } from '../config/checks.js'
import type { Connection } from '../connection/connection.js'
import { type Hub, type Selector, checkSelector } from '../connection/hub.js'
import { Facade } from '../scope/facade.js'
import type { Cluster } from './cluster.js'

/** Default time (ms) that other nodes have to answer. */
const TIMEOUT = 1000
/** Most connections in a list. */
const MAX_LIST = 10_000
/** Most characters in a node's answer, because a connection may have many tags. */
const MAX_ANSWER = 1024 * 1024

/** Options of a question to all nodes. */
export interface ClusterOptions {
  /** ms that the other nodes have to answer. Default 1,000. */
  timeoutMs?: number
}

/** A connection of any node. */
export interface ConnectionInfo extends ConnectionCard {
  /** The node that holds it. */
  node: string
}

/** A node that shares the backend. */
export interface NodeInfo extends NodeCard {
  /** True for this process. */
  isSelf: boolean
}

/** `missing` lists known nodes that did not answer in time. */
interface Missing { missing: string[] }

/** The answer of this node. A connection that is closing does not count. */
export function answerOf (hub: Hub, pending: PendingUpgrades, question: Exclude<Question, { kind: 'plugin' }>): Answer {
  const selected = Array.from(hub.select({ to: question.selector })).filter(({ isOpen }) => isOpen)
  const count = selected.length
  if (question.kind === 'count') return { count }
  if (question.kind === 'list') return { count, connections: cardsOf(selected, question.limit) }
  const { code, reason, selector } = question
  for (const user of [selector.user ?? []].flat()) pending.disconnect(user, { code, reason })
  for (const connection of selected) connection.close(code, reason)
  return { count }
}

/** As many cards as the limit and the size of an answer allow. */
function cardsOf (selected: Connection[], limit: number): ConnectionCard[] {
  const cards: ConnectionCard[] = []
  let size = 0
  for (const connection of selected.slice(0, limit)) {
    const card = cardOf(connection)
    size += JSON.stringify(card).length
    if (size > MAX_ANSWER) break
    cards.push(card)
  }
  return cards
}

function cardOf ({ id, context, connectedAt, protocol, subscriptions, bufferedBytes }: Connection): ConnectionCard {
  return { connectionId: id, userId: context.userId, remoteAddress: context.remoteAddress, protocol, transport: context.transport, connectedAt, tags: [...context.tags], subscriptions, bufferedBytes }
}

/** `ds.connections`: the connections of every node that shares the backend. */
export class ConnectionsFacade<S> extends Facade<S> {
  readonly #cluster: Cluster

  constructor (cluster: Cluster, server: S) {
    super(server)
    this.#cluster = cluster
  }

  /**
   * Lists connections of all nodes.
   * @param selector by connection, user or tag; several members are a union. Default: all
   * @param options.limit maximum of listed connections, up to 10,000. Default 100. A node lists at most 1 MiB of JSON;
   *   `count` has the number of all
   * @param options.timeoutMs ms that the other nodes have to answer. Default 1,000
   * @returns the connections, and `missing`: the nodes that did not answer in time
   * @throws TypeError `INVALID_ARGUMENT`; DatasoleError `BUSY`
   */
  async list (selector?: Selector, { limit = 100, timeoutMs = TIMEOUT }: ClusterOptions & { limit?: number } = {}): Promise<Missing & { count: number, connections: ConnectionInfo[] }> {
    check('list', selector)
    if (!Number.isInteger(limit) || limit < 1 || limit > MAX_LIST) throw invalidArgument(`connections.list: limit must be a whole number from 1 to ${MAX_LIST}`)
    const { byNode, missing } = await this.#cluster.ask({ kind: 'list', selector, limit }, timeoutOf('list', timeoutMs))
    const connections = Array.from(byNode, ([node, answer]) => (answer.connections ?? []).map((card) => ({ node, ...card }))).flat()
    return { count: sum(byNode.values()), connections: connections.slice(0, limit), missing }
  }

  /**
   * Counts connections of all nodes.
   * @param selector by connection, user or tag; several members are a union. Default: all
   * @param options.timeoutMs ms that the other nodes have to answer. Default 1,000
   * @returns the count, and `missing`: the nodes that did not answer in time
   * @throws TypeError `INVALID_ARGUMENT`; DatasoleError `BUSY`
   */
  async count (selector?: Selector, { timeoutMs = TIMEOUT }: ClusterOptions = {}): Promise<Missing & { count: number }> {
    check('count', selector)
    const { byNode, missing } = await this.#cluster.ask({ kind: 'count', selector }, timeoutOf('count', timeoutMs))
    return { count: sum(byNode.values()), missing }
  }

  /**
   * Closes connections on every node, and ends upgrades of the selected users.
   * @param selector by connection, user or tag; several members are a union
   * @param options.code close code. Default 4401, after which a client does not reconnect by itself
   * @param options.reason at most 123 bytes. Default `disconnected by the server`
   * @param options.timeoutMs ms that the other nodes have to answer. Default 1,000
   * @returns the number of closed connections by node, and `missing`: the nodes that did not confirm in time
   * @throws TypeError `INVALID_ARGUMENT`; DatasoleError `INVALID_CLOSE`, `BUSY`
   */
  async disconnect (selector: Selector, { code = CloseCode.AUTH_EXPIRED, reason = 'disconnected by the server', timeoutMs = TIMEOUT }: ClusterOptions & { code?: number, reason?: string } = {}): Promise<Missing & { count: number, nodes: Record<string, number> }> {
    if (!isObject(selector)) throw invalidArgument('connections.disconnect: the selector must be an object with connection, user or tag')
    check('disconnect', selector)
    checkCloseReason({ code, reason })
    const { byNode, missing } = await this.#cluster.ask({ kind: 'disconnect', selector, code, reason }, timeoutOf('disconnect', timeoutMs))
    return { count: sum(byNode.values()), nodes: Object.fromEntries(Array.from(byNode, ([node, { count }]) => [node, count])), missing }
  }
}

function check (method: string, selector: Selector | undefined): void {
  if (selector !== undefined) checkSelector(`connections.${method}`, 'selector', selector)
}

function timeoutOf (method: string, timeoutMs: number): number {
  if (!(timeoutMs >= 0 && timeoutMs < 2 ** 31)) throw invalidArgument(`connections.${method}: timeoutMs must be ms from 0`)
  return timeoutMs
}

function sum (answers: Iterable<Answer>): number {
  let total = 0
  for (const { count } of answers) total += count
  return total
}
