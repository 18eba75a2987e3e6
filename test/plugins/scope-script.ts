import type { WorkerDatasole } from '../../plugins/server.js'

/** A worker script of a scope: its method writes a key, in the backend of the scope. */
export default function (ds: WorkerDatasole): void {
  ds.rpc.register('inThread', async (value) => {
    await ds.primitives.state.setState('thread', value)
    return value
  })
}
