import type { WorkerServices } from './executor.js'
import { DatasoleError } from '../../protocol/errors.js'
import type { CrdtType } from '../../crdt/crdt.js'
import type { Operation, Head } from '../../protocol/messages.js'
import type { ServerOp } from '../crdts/crdt-handle.js'
import type { Crdts } from '../crdts/crdts.js'
import type { Events } from '../events/events.js'
import type { Scope } from '../scope/scope.js'
import type { Target } from '../connection/hub.js'
import type { Sessions } from '../sessions/sessions.js'
import type { StateStore } from '../store/state-store.js'

/** The parts of the server that code in workers can use. */
export interface ServiceHost {
  readonly store: StateStore
  readonly sessions: Sessions
  readonly events: Events
  readonly crdts: Crdts
  readonly root: Scope
  broadcast (event: string, data: unknown, target?: Target): void
}

type Service = (host: ServiceHost, ...args: never[]) => unknown

/** What `ds` in a worker asks for, by name. */
const SERVICES = {
  set: ({ store }: ServiceHost, key: string, value: unknown, live: boolean) => store.set(key, value, live),
  read: ({ store }: ServiceHost, key: string) => store.read(key),
  delete: ({ store }: ServiceHost, key: string) => store.delete(key),
  /** Commits what a recipe did in the worker; where the key has moved on, it is told where it is now. */
  patch: async ({ store }: ServiceHost, key: string, base: Head, patches: Operation[], live: boolean) => {
    try {
      await store.patch(key, base, patches, live)
      return undefined
    } catch (error) {
      if (error instanceof DatasoleError && error.code === 'CONFLICT') return await store.read(key)
      throw error
    }
  },
  emit: ({ events }: ServiceHost, event: string, data: unknown) => { events.emit(event, data) },
  broadcast: (host: ServiceHost, event: string, target: Target, data: unknown) => { host.broadcast(event, data, target) },
  crdtRegister: ({ crdts, root }: ServiceHost, key: string, type: CrdtType) => { crdts.registerOnce(key, type, root) },
  crdtType: ({ crdts }: ServiceHost, key: string) => crdts.typeOf(key),
  crdtValue: ({ crdts }: ServiceHost, key: string) => crdts.value(key),
  crdtApply: ({ crdts }: ServiceHost, key: string, op: ServerOp) => crdts.apply(key, op),
  crdtDelete: ({ crdts }: ServiceHost, key: string) => crdts.delete(key),
  sessionRestore: ({ sessions }: ServiceHost, userId: string | null) => sessions.restore(userId ?? undefined),
  sessionGet: ({ sessions }: ServiceHost, userId: string, key: string) => sessions.get(userId, key),
  sessionSet: ({ sessions }: ServiceHost, userId: string, key: string, value: unknown) => { sessions.set(userId, key, value) },
  sessionDelete: ({ sessions }: ServiceHost, userId: string, key: string) => sessions.delete(userId, key),
  sessionFlush: ({ sessions }: ServiceHost, userId: string) => sessions.flush(userId)
} satisfies Record<string, Service>

export type ServiceName = keyof typeof SERVICES

export function workerServices (host: ServiceHost): WorkerServices {
  return {
    async request (name, args) {
      const service = SERVICES[name as ServiceName] as Service
      return JSON.stringify(await service(host, ...JSON.parse(args) as never[]))
    }
  }
}
