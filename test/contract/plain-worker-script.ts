import type { WorkerDatasole } from '../../plugins/server.js'

/** A worker script without a contract: its one method has JSON Schemas, which cross by themselves. */
export default function (ds: WorkerDatasole): void {
  ds.rpc.register('plain', (params) => params)
}
