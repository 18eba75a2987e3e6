import type { WorkerDatasole } from '../../plugins/server.js'

/** A worker script without a contract, though a library checks its method. */
export default function (ds: WorkerDatasole): void {
  ds.rpc.register('add', () => 1)
}
