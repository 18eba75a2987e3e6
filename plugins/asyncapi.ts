import type { FastifyInstance } from 'fastify'
import { asyncApiOf } from '../lib/contract/documents/asyncapi.js'
import type { Core } from '../lib/server/core.js'

/** Serves the contract as an AsyncAPI document, if the option `asyncapiPath` is set. */
export function asyncapi (app: FastifyInstance, { settings: { asyncapiPath, contract, path } }: Core): void {
  if (asyncapiPath === undefined) return
  app.get(asyncapiPath, (request) => asyncApiOf(contract!, { server: { host: request.host, pathname: path, protocol: request.protocol === 'https' ? 'wss' : 'ws' } }))
}
