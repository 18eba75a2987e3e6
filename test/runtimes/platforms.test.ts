import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import t from 'tap'
import { entrances } from '../helpers/entrances.js'
import { platforms } from './platforms.js'

const startServer = entrances.find(([name]) => name === 'standalone')![1]
const available = await platforms()

for (const { name, program, args } of available) {
  t.test(`platforms: the client works on ${name}`, async (t) => {
    const { ds, origin } = await startServer(t, {
      rateLimit: false,
      authHandler: () => ({ authenticated: true, userId: 'ann' }),
      prepare ({ rpc, primitives: { events, fanout, live } }) {
        rpc.register('fail', () => { throw Object.assign(new Error('no'), { code: 7, data: { why: 'so' } }) })
        rpc.register('never', () => new Promise(() => {}))
        rpc.register('set', async (value) => { await live.setState('board', value); return null })
        rpc.register('drop', () => { ds.disconnectUser('ann', { code: 1001 }); return new Promise(() => {}) })
        events.on('chat', ({ data }) => { fanout.broadcast('chat', data) })
      }
    })
    await ds.primitives.live.setState('board', { n: 1, list: [] })
    ds.primitives.live.createSyncChannel({ key: 'notes', direction: 'bidirectional', mode: 'json-patch', initialValue: [] })
    const needsWs = name.startsWith('Node.js 20')
    const { stdout } = await promisify(execFile)(program, [...args, 'dist/test/runtimes/scenario.js', origin, ...needsWs ? ['ws'] : []], { timeout: 90_000 })
    t.match(JSON.parse(stdout), {
      large: true,
      failure: [true, 7, { why: 'so' }],
      timeout: -32001,
      aborted: 'mine',
      invalid: 'INVALID_JSON',
      events: true,
      told: [[1, 'live'], [2, 'live'], [2, 'stale'], [2, 'live'], [3, 'live']],
      frozen: true,
      dropped: 'OUTCOME_UNKNOWN',
      notes: ['first', 'offline'],
      likes: 3,
      tokens: 2,
      states: ['connecting', 'connected', 'reconnecting', 'connected', 'disconnected'],
      errors: []
    })
    t.strictSame(await ds.primitives.live.getState('notes'), ['first', 'offline'])
    t.equal(await ds.primitives.crdt.getValue('likes'), 3)
  })
}
