import type { Journal, StateBackend } from '../../backend/backend.js'
import type { Logger } from '../context/logger.js'
import type { Metrics } from '../metrics/metrics.js'
import type { Settings } from '../config/settings.js'
import { StateStore } from './state-store.js'

/** What is stored around a value, of a session and of a CRDT: the fields, and each with its timestamp. */
const FIELD_DEPTH = 3

/** Bytes of a session that several nodes have filled at once, each within its bound. */
const MAX_MERGED = 4 * 1024 * 1024

/** What a server stores, in one backend: each kind under a prefix and within bounds of its own. */
export function openStores (backend: StateBackend, journal: Journal, settings: Settings, metrics: Metrics, log: Logger): { state: StateStore, crdt: StateStore, session: StateStore } {
  const deeper = { ...settings, maxJsonDepth: settings.maxJsonDepth + FIELD_DEPTH }
  return {
    state: new StateStore(backend, journal, settings, metrics, log),
    crdt: new StateStore(backend, journal, deeper, metrics, log, { prefix: 'crdt:' }),
    session: new StateStore(backend, journal, { ...deeper, maxStateBytes: MAX_MERGED }, metrics, log, { prefix: 'session:', ttlMs: settings.session.ttlMs, maxIdle: 0 })
  }
}
