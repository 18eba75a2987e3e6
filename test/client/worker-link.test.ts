import t from 'tap'
import type { LinkEvents } from '../../lib/client/link.js'
import { type FromWorker, type ToWorker, WorkerLink } from '../../lib/client/worker-link.js'
import type { WorkerLike } from '../../lib/client/load-worker.js'

/** A link to a worker of the test's, and what it told. */
function linkTo () {
  const told: unknown[] = []
  const worker: WorkerLike<FromWorker, ToWorker> & { isTerminated: boolean } = {
    onmessage: null,
    onerror: null,
    isTerminated: false,
    postMessage () {},
    terminate () { this.isTerminated = true }
  }
  const events: LinkEvents = {
    onState: (state) => { told.push(state) },
    onFrame: () => { told.push('frame') },
    onUnsent: () => { told.push('unsent') },
    onOffer: () => { told.push('offer') },
    onProblem: ({ code }) => { told.push(code) }
  }
  const link = new WorkerLink(() => ({ worker: worker as never, name: 'the worker', settled () {} }), { url: '', protocols: [], reconnect: true, reconnectInterval: 1, maxReconnectAttempts: 1 }, events, undefined)
  link.open()
  return { link, worker, told }
}

for (const [name, isReady] of [['that is not ready', false], ['that is', true]] as const) {
  t.test(`worker link: after its end it is deaf to a worker ${name}`, async (t) => {
    const { link, worker, told } = linkTo()
    if (isReady) worker.onmessage?.({ data: { type: 'ready' } })
    link.close()
    t.strictSame(told, ['connecting', 'disconnected'])
    const late: FromWorker[] = [{ type: 'ready' }, { type: 'offer' }, { type: 'state', state: 'connected' }, { type: 'frames', frames: [Uint8Array.of(1)] }, { type: 'problem', failure: { code: 'LATE', message: '' } }]
    for (const data of late) worker.onmessage?.({ data })
    worker.onerror?.({ message: 'late' })
    t.strictSame(told, ['connecting', 'disconnected'])
    worker.onmessage?.({ data: { type: 'state', state: 'disconnected' } })
    t.ok(worker.isTerminated)
  })
}
