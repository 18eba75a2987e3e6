import { RpcError, type WorkerDatasole } from '../../plugins/server.js'
import { awkward, odd } from '../helpers/awkward.js'

/** Sends from a thread what JSON cannot hold, or holds otherwise, on the way that it is asked. */
export default function register ({ rpc, primitives: { live, state, events, fanout, sessions } }: WorkerDatasole): void {
  const ways: Record<string, (data: unknown) => Promise<unknown>> = {
    setState: (data) => live.setState('thread', data),
    'state.setState': (data) => state.setState('thread', data),
    update: (data) => live.update('thread', () => data),
    emit: (data) => events.emit('thread', data),
    broadcast: (data) => fanout.broadcast('thread', data),
    'sessions.set': (data) => sessions.set('ann', 'k', data)
  }
  rpc.register('t.refused', async (args) => {
    const [way, name] = args as [string, string]
    return await ways[way]!({ v: awkward[name]![0] }).then(() => 'taken', ({ name, code, message }) => ({ name, code, message }))
  })
  rpc.register('t.odd', async (way) => { await ways[way as string]!(odd()) })
  rpc.register('t.absent', async () => { await events.emit('thread', undefined); await fanout.broadcast('thread', undefined) })
  rpc.register('t.result', (name) => ({ v: awkward[name as string]![0] }))
  rpc.register('t.data', (name) => { throw new RpcError(5, 'with data', { v: awkward[name as string]![0] }) })
  rpc.register('t.odd result', () => odd())
  rpc.register('t.nothing', () => {})
  rpc.register('t.echo', (params) => ({ params: typeof params === 'undefined' ? 'absent' : params }))
  events.on('to threads', async ({ data }) => { await fanout.broadcast('from thread', { has: data !== undefined, data }) })
}
