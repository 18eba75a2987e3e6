import { createRequire } from 'node:module'
import type * as OpenTelemetry from '@opentelemetry/api'
import { memberOf } from '../protocol/errors.js'
import { packageFile } from '../server/config/package-file.js'
import { contextOf, traceparentOf } from './trace-context.js'

type Api = typeof OpenTelemetry

/**
 * Continues traces of the main thread in a worker thread, for an SDK that the worker script has started. It loads
 * `@opentelemetry/api` at the first traced task.
 */
export class ThreadTrace {
  /** null: the package is not installed, so there is no SDK. */
  #api: Api | null | undefined

  /** Runs `fn` in the context of the trace, if there is one. */
  run<T> (traceparent: string | undefined, fn: () => T): T {
    if (traceparent === undefined) return fn()
    if (this.#api === undefined) this.#api = load()
    const context = this.#api && contextOf(this.#api, traceparent)
    return context === undefined || context === null ? fn() : this.#api!.context.with(context, fn)
  }

  /** The `traceparent` of the current span; undefined outside of a trace. */
  traceparent (): string | undefined {
    return this.#api ? traceparentOf(this.#api, this.#api.trace.getSpanContext(this.#api.context.active())) : undefined
  }
}

/** Loads the API synchronously, because tasks must start in order. */
function load (): Api | null {
  try {
    return createRequire(packageFile('lib/executor/thread/worker-thread.js'))('@opentelemetry/api') as Api
  } catch (error) {
    if (memberOf(error, 'code') === 'MODULE_NOT_FOUND') return null
    throw error
  }
}
