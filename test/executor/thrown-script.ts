import { readFile } from 'node:fs/promises'
import { DatasoleError, RpcError, type WorkerDatasole } from '../../plugins/server.js'

class QueryError extends Error {}

/** Throws in a thread, by name. */
export default function register ({ rpc, primitives: { state } }: WorkerDatasole): void {
  const ways: Record<string, () => unknown> = {
    plain: () => { throw new Error('plain') },
    coded: () => { throw Object.assign(new QueryError('coded'), { code: 4711, data: { why: 1 } }) },
    rpc: () => { throw new RpcError(5, 'rpc', [1]) },
    exposed: () => { throw Object.assign(new QueryError('exposed'), { expose: true }) },
    status: () => { throw Object.assign(new QueryError('status'), { statusCode: 404 }) },
    bug: () => { throw new TypeError('secret') },
    class: () => { throw new QueryError('secret', { cause: new Error('the cause') }) },
    system: () => readFile('/nowhere/secret'),
    datasole: () => { throw new DatasoleError('SECRET', 'secret') },
    abort: () => { throw new DOMException('secret', 'AbortError') },
    string: () => { const thrown: unknown = 'secret'; throw thrown },
    'of the main thread': () => state.setState('refused', 1)
  }
  rpc.register('t.throws', (name) => ways[name as string]!())
  rpc.register('t.rejects', async (name) => { await null; return await ways[name as string]!() })
  rpc.register('t.late', { timeoutMs: 20 }, async (_, { signal }) => {
    await new Promise((resolve) => { signal.addEventListener('abort', resolve) })
    throw new QueryError('after its time')
  })
}
