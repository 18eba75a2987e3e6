import { memberOf, messageOf } from '../../protocol/errors.js'
import type { Issue } from '../../contract/issues.js'
import type { ConnectionInfo, ConnectionsFacade } from '../cluster/connections-facade.js'
import { isObject } from '../config/checks.js'
import type { Selector, Target } from '../connection/hub.js'
import type { Core } from '../core.js'
import type { Scope } from '../scope/scope.js'
import { HttpRefusal } from './http-refusal.js'

/** The query of a request. The value of a repeated name is a list. */
export type Query = Record<string, string | string[] | undefined>

const SELECTS = ['connection', 'user', 'tag'] as const

/**
 * Sends an event to clients.
 * @param body `{ data, to, except }`
 * @throws HttpRefusal
 */
export function broadcast (core: Core, scope: Scope, event: string, body: unknown): void {
  if (!isObject(body)) throw HttpRefusal.of('BAD_FRAME', 'the body must be an object: { data, to, except }')
  const { data, ...target } = body as { data?: unknown } & Target
  asHttp(() => { core.fanout.broadcast(event, data, target, scope) })
}

/** @throws HttpRefusal */
export async function listConnections (connections: ConnectionsFacade<unknown>, { limit, ...query }: Query): Promise<{ count: number, connections: ConnectionInfo[], missing: string[] }> {
  const selector = selectorOf(query)
  return await asHttp(() => connections.list(selector, limit === undefined ? {} : { limit: Number(limit) }))
}

/** @throws HttpRefusal */
export async function disconnect (connections: ConnectionsFacade<unknown>, { code, reason, ...query }: Query): Promise<{ count: number, nodes: Record<string, number>, missing: string[] }> {
  const selector = selectorOf(query)
  if (selector === undefined) throw HttpRefusal.because(400, 'INVALID_ARGUMENT', `the query must have at least one of ${SELECTS.join(', ')}`)
  if (Array.isArray(reason)) throw HttpRefusal.because(400, 'INVALID_ARGUMENT', 'the query may have only one reason')
  return await asHttp(() => connections.disconnect(selector, { ...code !== undefined && { code: Number(code) }, ...reason !== undefined && { reason } }))
}

/**
 * Reads a selector. It refuses unknown names, because a typing error in a name could select everyone.
 * @throws HttpRefusal
 */
function selectorOf ({ token: _token, contract: _contract, ...query }: Query): Selector | undefined {
  const unknown = Object.keys(query).find((name) => !SELECTS.includes(name as 'user'))
  if (unknown !== undefined) throw HttpRefusal.because(400, 'INVALID_ARGUMENT', `the query parameter ${JSON.stringify(unknown.slice(0, 100))} is unknown`)
  return Object.keys(query).length === 0 ? undefined : query
}

/** Runs a call whose errors are made for server code. Most of them are the fault of the request here. */
function asHttp<T> (run: () => T): T {
  const fail = (error: unknown): never => { throw refusalFor(error) }
  try {
    const result = run()
    return (result instanceof Promise ? result.catch(fail) : result) as T
  } catch (error) {
    return fail(error)
  }
}

function refusalFor (error: unknown): unknown {
  const code = memberOf(error, 'code')
  if (code === 'INVALID_VALUE') return HttpRefusal.of(code, messageOf(error), { issues: memberOf(error, 'issues') as Issue[] })
  if (code === 'BUSY') return HttpRefusal.of(code, messageOf(error))
  if (code === 'INVALID_ARGUMENT' || code === 'INVALID_CLOSE' || code === 'TOO_DEEP') return HttpRefusal.because(400, code, messageOf(error))
  return error
}
