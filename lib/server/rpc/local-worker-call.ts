import type { Task } from '../../executor/executor.js'
import { RpcCode } from '../../protocol/codes.js'
import { RpcError } from '../../protocol/errors.js'
import type { ConnectionContext } from '../context/connection-context.js'
import { runHooks } from '../scope/scope.js'
import type { WorkerMethod } from './method.js'
import type { RpcContext } from '../context/rpc-context.js'
import { HookThrew } from '../errors/thrown.js'

/** The arguments of a local call. */
export interface LocalCall {
  params: unknown
  ctx: RpcContext
  /** The connection that the method runs for in its thread. */
  context: ConnectionContext
  /** The caller's position in a trace. */
  traceparent: string | undefined
}

/**
 * Calls a method in a worker, for server code.
 * @throws the handler's error, or RpcError; HookThrew with the error of a hook
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
      // the connection is closed or never existed, so the worker must not keep its copy
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
        // rejects a task that was dropped before it began; has no effect after an answer
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
