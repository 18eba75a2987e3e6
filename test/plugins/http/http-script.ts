import { RpcError } from '../../../lib/protocol/errors.js'
import type { WorkerDatasole } from '../../../plugins/server.js'

/** Methods that run in a thread. */
export default function (ds: WorkerDatasole): void {
  ds.rpc.register('inThread', (params, { connection }) => ({ params, transport: connection.transport, userId: connection.userId }))
  ds.rpc.register('thrownInThread', () => { throw new RpcError(7, 'seven', { a: 1 }) })
  ds.rpc.register('waitInThread', async (_params, { signal, connection }) => {
    connection.tags.add('waits')
    await new Promise((resolve) => { signal.addEventListener('abort', resolve) })
  })
}
