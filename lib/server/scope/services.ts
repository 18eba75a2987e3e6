import type { StateBackend } from '../../backend/backend.js'
import type { RateLimits, Settings } from '../config/settings.js'
import type { RateLimiter } from '../config/server-options.js'
import { Service } from './scope.js'

/** The store and the pub/sub of a scope. */
export const BACKEND = new Service<StateBackend>('backend')

/** The rate limits of a scope, and its custom limiter if it has one. */
export const RATE_LIMIT = new Service<{ limits: RateLimits | false, limiter: RateLimiter | undefined }>('rate limit')

/** The worker threads of a scope. */
export const EXECUTOR = new Service<Settings['executor']>('executor')

/** The routes of the metrics plugin. */
export const METRICS = new Service<object>('metrics')

/** The routes of the HTTP plugin. */
export const HTTP = new Service<object>('http')

/** The session options of a scope. */
export const SESSIONS = new Service<Settings['session']>('session option')
