import type { WorkerDatasole } from '../../plugins/server.js'
import { contract } from './contract.js'

export { contract }

/** A worker script that hands its contract over. */
export default function (ds: WorkerDatasole<typeof contract>): void {
  ds.rpc.register('add', ({ a, b }, ctx) => {
    if (a + b > 10) throw ctx.error('OVERFLOW', { max: 10 })
    return a === 1 ? 'wrong' as unknown as number : a + b
  })
  ds.rpc.register('plain', async ({ n }) => {
    await ds.primitives.live.setState('dashboard', { visitors: n })
    return n
  })
  ds.rpc.register('trim', async ({ text }) => {
    await ds.primitives.fanout.broadcast('tick', text as unknown as number)
    return { text }
  })
  ds.primitives.events.on('chat', ({ data }) => { void ds.primitives.state.setState('heard', data) })
}
