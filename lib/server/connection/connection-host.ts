import type { Settings } from '../config/settings.js'
import type { Logger } from '../context/logger.js'
import type { RepeatLog } from '../context/repeat-log.js'
import type { Metrics } from '../metrics/metrics.js'
import type { Flusher } from './flusher.js'

/** The state that all connections of a server share. */
export interface ConnectionHost {
  readonly settings: Settings
  readonly metrics: Metrics
  readonly flusher: Flusher
  readonly log: Logger
  readonly repeats: RepeatLog
}
