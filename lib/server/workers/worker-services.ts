import type { WorkerServices } from '../../executor/executor.js'
import { DatasoleError } from '../../protocol/errors.js'
import type { CrdtType } from '../../crdt/crdt.js'
import type { Operation, Head } from '../../protocol/messages.js'
import type { ServerOp } from '../crdts/crdt-handle.js'
import type { Crdts } from '../crdts/crdts.js'
import type { Scope } from '../scope/scope.js'
import type { Metrics } from '../metrics/metrics.js'
import type { Target } from '../connection/hub.js'
import type { Sessions } from '../sessions/sessions.js'
import type { StateStore } from '../store/state-store.js'

/** The parts of the server that code in workers can use, for the worker's scope. */
export interface ServiceHost {
  /** The store of a key. `isLive` if the key is, or is going to be, live state. */
  storeOf (key: string, isLive: boolean): StateStore
  sessions (): Sessions
  emit (event: string, data: unknown): void
  readonly crdts: Crdts
  readonly scope: Scope
  readonly metrics: Metrics
  broadcast (event: string, data: unknown, target?: Target): void
}

type Service = (host: ServiceHost, ...args: never[]) => unknown

/** The requests that `ds` in a worker makes, by name. */
const SERVICES = {
  set: (host: ServiceHost, key: string, value: unknown, live: boolean) => host.storeOf(key, live).set(key, value, live),
  read: (host: ServiceHost, key: string) => host.storeOf(key, false).read(key),
  delete: (host: ServiceHost, key: string) => host.storeOf(key, false).delete(key),
  /** Commits the changes of a recipe that ran in the worker. On a conflict it answers with the new value. */
  patch: async (host: ServiceHost, key: string, base: Head, patches: Operation[], live: boolean) => {
    const store = host.storeOf(key, live)
    try {
      await store.patch(key, base, patches, live)
      return undefined
    } catch (error) {
      if (error instanceof DatasoleError && error.code === 'CONFLICT') return await store.read(key)
      throw error
    }
  },
  emit: (host: ServiceHost, event: string, data: unknown) => { host.emit(event, data) },
  broadcast: (host: ServiceHost, event: string, target: Target, data: unknown) => { host.broadcast(event, data, target) },
  crdtRegister: ({ crdts, scope }: ServiceHost, key: string, type: CrdtType) => { crdts.registerOnce(key, type, scope) },
  crdtType: ({ crdts }: ServiceHost, key: string) => crdts.typeOf(key),
  crdtValue: ({ crdts }: ServiceHost, key: string) => crdts.value(key),
  crdtApply: ({ crdts }: ServiceHost, key: string, op: ServerOp) => crdts.apply(key, op),
  crdtDelete: ({ crdts }: ServiceHost, key: string) => crdts.delete(key),
  sessionRestore: (host: ServiceHost, userId: string | null) => host.sessions().restore(userId ?? undefined),
  sessionGet: (host: ServiceHost, userId: string, key: string) => host.sessions().get(userId, key),
  sessionSet: (host: ServiceHost, userId: string, key: string, value: unknown) => { host.sessions().set(userId, key, value) },
  sessionDelete: (host: ServiceHost, userId: string, key: string) => host.sessions().delete(userId, key),
  sessionFlush: (host: ServiceHost, userId: string) => host.sessions().flush(userId)
} satisfies Record<string, Service>

export type ServiceName = keyof typeof SERVICES

export function workerServices (host: ServiceHost): WorkerServices {
  const { metrics } = host
  const ask = async (name: string, args: string): Promise<string | undefined> => {
    const service = SERVICES[name as ServiceName] as Service
    return JSON.stringify(await service(host, ...JSON.parse(args) as never[]))
  }
  return {
    request (name, args, traceparent) {
      const { tracer } = metrics
      return tracer === undefined || traceparent === undefined ? ask(name, args) : tracer.within(tracer.from(traceparent), () => ask(name, args))
    },
    get isMeasured () { return metrics.isMeasured },
    waited (ms) { metrics.observe('queue', 'thread', ms) }
  }
}
