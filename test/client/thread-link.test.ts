import t from 'tap'
import type { Link } from '../../lib/client/link.js'
import { ThreadLink } from '../../lib/client/thread-link.js'
import { until } from '../helpers/until.js'

t.test('thread link: a page that is back loads the code of the socket at once, and once', async (t) => {
  const states: string[] = []
  let loads = 0
  let opened = 0
  const socket: Link = { open () { opened++ }, send () {}, offer () {}, page () {}, close () {} }
  const load = async (): Promise<Link> => {
    if (loads++ === 0) throw new Error('offline')
    return socket
  }
  const link = new ThreadLink(load, { url: '', protocols: [], reconnect: true, reconnectInterval: 2 ** 30, maxReconnectAttempts: Infinity }, {
    onState: (state) => { states.push(state) },
    onFrame () {},
    onUnsent () {},
    onOffer () {},
    onProblem () {}
  })
  t.teardown(() => { link.close() })
  link.open()
  link.page('wake')
  await until(() => states.includes('reconnecting'))
  link.page('check')
  t.equal(loads, 1)
  link.page('wake')
  link.page('wake')
  await until(() => opened === 1)
  t.equal(loads, 2)
})
