import { context, trace } from '@opentelemetry/api'
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks'
import type { WorkerDatasole } from '../../../plugins/server.js'

/** A worker script whose thread has an SDK. It tells the trace that its handlers are part of. */
export default function (ds: WorkerDatasole): void {
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable())
  const here = (): string | undefined => trace.getSpanContext(context.active())?.spanId
  ds.rpc.register('where', async () => {
    await ds.primitives.state.setState('written', 1)
    await ds.primitives.events.emit('emitted', 1)
    return here() ?? null
  })
  ds.primitives.events.on('heard', async () => { await ds.primitives.state.setState('heardAt', here() ?? null) })
}
