import type { DatasoleServer, WorkerDatasole } from '../plugins/server.js'

/** The methods of the executor's scenarios: in a worker, or on the main thread for comparison. */
export default function register (ds: WorkerDatasole | DatasoleServer): void {
  const { rpc } = ds as WorkerDatasole
  rpc.register('echo', (params) => params)
  rpc.register('compute', (ms) => {
    const until = performance.now() + (ms as number)
    while (performance.now() < until);
    return ms
  })
  rpc.register('work', (steps) => {
    let x = 1
    for (let i = 0; i < (steps as number); i++) x = (x * 1103515245 + 12345) & 0x7fffffff
    return x
  })
}
