import type { Task } from '../../executor/executor.js'
import { RpcCode } from '../../protocol/codes.js'
import { RpcError } from '../../protocol/errors.js'
import type { ConnectionContext } from '../context/connection-context.js'
import { runHooks } from '../scope/scope.js'
import type { WorkerMethod } from './method.js'
import type { RpcContext } from '../context/rpc-context.js'
import { HookThrew } from '../errors/thrown.js'

/** The arguments of the call. */
export interface LocalCall {
  params: unknown
  ctx: RpcContext
  /** For whom the method runs in its thread. */
  context: ConnectionContext
  /** The place in the caller's trace. */
  traceparent: string | undefined
}

/**
 * Server code's call of a method that runs in a worker.
 * @throws what the handler threw in its thread, or RpcError; HookThrew with what a hook threw
 */
export async function callWorker (method: WorkerMethod, { params, ctx, context, traceparent }: LocalCall): Promise<unknown> {
  try {
    await runHooks(method.scope.chain('preRpc'), ctx, { method: method.name, params })
  } catch (thrown) {
    throw new HookThrew(thrown)
  }
  const payload = Buffer.from(JSON.stringify({ method: method.name, params }))
  return await new Promise((resolve, reject) => {
    const task: Task = {
      kind: 'call',
      isLocal: true,
      // of a connection that is not there (any more), or of this call only
      isPassing: context.tagListener === undefined,
      context,
      correlationId: 0,
      payload,
      traceparent,
      answer (message) { resolve(JSON.parse(String(message))) },
      threw: reject,
      refuse: reject,
      malformed (message) { reject(new RpcError(RpcCode.INVALID_PARAMS, message, { code: 'INVALID_PARAMS' })) },
      ended () {
        clearTimeout(timer)
        ctx.signal.removeEventListener('abort', abort)
        // it was dropped before it began; else it has been answered, and this changes nothing
        reject(ctx.signal.reason)
      }
    }
    const timer = method.timeoutMs === 0 ? undefined : setTimeout(() => { job?.checkStuck() }, method.timeoutMs)
    timer?.unref()
    const job = method.executor.run(task)
    function abort (): void { job?.abort(ctx.signal.reason as RpcError) }
    if (ctx.signal.aborted) abort()
    else ctx.signal.addEventListener('abort', abort)
  })
}
