import { z } from 'zod'
import { defineContract } from '../../lib/contract/exports.js'
import type { WorkerDatasole } from '../../plugins/server.js'
import { contract as own } from './contract.js'

/** The server's, with another schema in one place. */
export const contract = defineContract({ ...own.definition, rpc: { ...own.definition.rpc, add: { ...own.definition.rpc.add, params: z.object({ a: z.string() }) } } })

export default function (ds: WorkerDatasole): void {
  ds.rpc.register('add', () => 1)
}
