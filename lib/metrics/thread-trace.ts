import { createRequire } from 'node:module'
import type * as OpenTelemetry from '@opentelemetry/api'
import { memberOf } from '../protocol/errors.js'
import { packageFile } from '../server/config/package-file.js'
import { contextOf, traceparentOf } from './trace-context.js'

type Api = typeof OpenTelemetry

/**
 * The trace of the main thread in a worker thread. Handlers run as part of it, for an SDK that the thread has started.
 * `@opentelemetry/api` is loaded with the first task that is traced.
 */
export class ThreadTrace {
  /** null: it is not there for this package, so no SDK can be found. */
  #api: Api | null | undefined

  /** Runs `fn` as part of the trace, if there is one. */
  run<T> (traceparent: string | undefined, fn: () => T): T {
    if (traceparent === undefined) return fn()
    if (this.#api === undefined) this.#api = load()
    const context = this.#api && contextOf(this.#api, traceparent)
    return context === undefined || context === null ? fn() : this.#api!.context.with(context, fn)
  }

  /** The place of the code that runs now; undefined outside of a trace. */
  traceparent (): string | undefined {
    return this.#api ? traceparentOf(this.#api, this.#api.trace.getSpanContext(this.#api.context.active())) : undefined
  }
}

/** Loads it at once, as tasks begin in order. */
function load (): Api | null {
  try {
    return createRequire(packageFile('lib/executor/thread/worker-thread.js'))('@opentelemetry/api') as Api
  } catch (error) {
    if (memberOf(error, 'code') === 'MODULE_NOT_FOUND') return null
    throw error
  }
}
