import { Contract } from '../../contract/define-contract.js'
import type { StateBackend } from '../../backend/backend.js'
import { DEFAULT_PATH } from '../../protocol/opcodes.js'
import { TIMER, checkFunction, checkMethods, integer, invalid, isObject } from './checks.js'
import { MAX_TAGS } from '../context/connection-context.js'
import { type ExecutorSettings, resolveExecutor } from './executor-settings.js'
import { normalOrigin } from './origins.js'
import type { RateLimitRule } from '../../protocol/sliding-window.js'
import type { AuthHandlerFn, BackendConfig, DatasoleServerOptions, RateLimitConfig, RateLimiter, SessionOptions } from './server-options.js'

/** ms in a hundred years: a bound that every store can add to the current time. */
const CENTURY = 100 * 365 * 86_400_000

/** Integer options: default, least, most. */
const NUMBERS = {
  maxConnections: [10_000, 1, Infinity],
  maxConnectionsPerAddress: [Infinity, 1, Infinity],
  maxCrdtKeys: [1000, 1, Infinity],
  maxEventNameLength: [256, 1, Infinity],
  authTimeoutMs: [10_000, 1, TIMER],
  heartbeatMs: [25_000, 1, TIMER],
  maxPayload: [1024 * 1024, 1, 2 ** 31],
  maxInflatedSize: [16 * 1024 * 1024, 1, 2 ** 31],
  maxJsonDepth: [128, 1, 1000],
  rpcTimeoutMs: [30_000, 0, TIMER],
  maxStateBytes: [16 * 1024 * 1024, 1, 2 ** 29],
  highWaterMark: [256 * 1024, 1, Infinity],
  maxBufferedBytes: [4 * 1024 * 1024, 1, Infinity],
  maxCallsInFlight: [100, 1, Infinity],
  maxSubscriptions: [1000, 1, Infinity],
  maxTags: [MAX_TAGS, 1, Infinity],
  maxBadFrames: [10, 0, Infinity],
  closeTimeoutMs: [5000, 0, TIMER],
  drainMs: [0, 0, TIMER]
} as const

type Numbers = { -readonly [N in keyof typeof NUMBERS]: number }

export interface RateLimits extends Omit<RateLimitConfig, 'rules'> {
  defaultRule: RateLimitRule
  /** By name of method or event. */
  rules: Map<string, RateLimitRule>
  subscribeRule: RateLimitRule
  onBackendError: 'local' | 'allow' | 'deny'
  timeoutMs: number
}

/** Options with every default applied. */
export interface Settings extends Numbers {
  path: string
  contract: Contract | undefined
  asyncapiPath: string | undefined
  authHandler: AuthHandlerFn | undefined
  allowedOrigins: DatasoleServerOptions['allowedOrigins']
  errorHandler: DatasoleServerOptions['errorHandler']
  stateBackend: StateBackend | undefined
  backendConfig: BackendConfig
  rateLimit: RateLimits | false
  rateLimiter: RateLimiter | undefined
  session: Required<Omit<SessionOptions, 'ttlMs'>> & Pick<SessionOptions, 'ttlMs'>
  /** Undefined for model `async`. */
  executor: ExecutorSettings | 'no script' | undefined
  /** Bytes; Infinity if nothing is compressed. */
  compressionThreshold: number
}

const OTHERS = ['path', 'contract', 'asyncapiPath', 'authHandler', 'stateBackend', 'backendConfig', 'executor', 'rateLimit', 'rateLimiter', 'session', 'allowedOrigins', 'trustProxy', 'compression', 'errorHandler', 'logger']
const LOGGER_METHODS = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'child'] as const
const BACKEND_METHODS = ['get', 'set', 'delete', 'subscribe', 'publish'] as const
const LIMITER_METHODS = ['check', 'consume', 'reset'] as const
const JOURNAL_METHODS = ['commit', 'read', 'liveKeys'] as const

/**
 * Checks options and applies the defaults.
 * @throws DatasoleError `INVALID_OPTION`; the message names the option
 */
export function resolveOptions (options: DatasoleServerOptions): Settings {
  if (!isObject(options)) throw invalid('options', 'must be an object')
  for (const name of Object.keys(options)) {
    if (!Object.hasOwn(NUMBERS, name) && !OTHERS.includes(name)) throw invalid(name, 'is not an option of datasole')
  }
  const { path = DEFAULT_PATH, rateLimit = {}, session = {}, compression = {} } = options
  const numbers: Partial<Numbers> = {}
  for (const name of Object.keys(NUMBERS) as Array<keyof Numbers>) {
    const [preset, least, most] = NUMBERS[name]
    const { [name]: value = preset } = options
    numbers[name] = integer(name, value, least, most)
  }
  if (options.stateBackend !== undefined && options.backendConfig !== undefined) throw invalid('backendConfig', 'and stateBackend exclude each other: pass only one')
  if (options.logger !== undefined) checkMethods('logger', options.logger, LOGGER_METHODS)
  if (options.authHandler !== undefined) checkFunction('authHandler', options.authHandler)
  checkTrustProxy(options.trustProxy)
  if (options.errorHandler !== undefined) checkFunction('errorHandler', options.errorHandler)
  return {
    ...numbers as Numbers,
    path: checkPath(path),
    contract: checkContract(options.contract),
    asyncapiPath: options.asyncapiPath === undefined ? undefined : checkAsyncapiPath(options),
    authHandler: options.authHandler,
    allowedOrigins: checkOrigins(options.allowedOrigins),
    errorHandler: options.errorHandler,
    stateBackend: checkStateBackend(options.stateBackend),
    backendConfig: checkBackendConfig(options),
    rateLimit: resolveRateLimit(rateLimit),
    rateLimiter: checkRateLimiter(options.rateLimiter),
    session: resolveSession(session),
    executor: resolveExecutor(options.executor),
    compressionThreshold: resolveCompression(compression)
  }
}

function checkAsyncapiPath ({ asyncapiPath, contract }: DatasoleServerOptions): string {
  if (typeof asyncapiPath !== 'string' || !/^\/[^?#\s:*]*$/.test(asyncapiPath)) throw invalid('asyncapiPath', 'must be an absolute URL path such as "/asyncapi.json"')
  if (contract === undefined) throw invalid('asyncapiPath', 'needs the option contract, which it describes')
  return asyncapiPath
}

function checkContract (contract: unknown): Contract | undefined {
  if (contract !== undefined && !Contract.isContract(contract)) throw invalid('contract', 'must be what defineContract returns')
  return contract
}

function checkPath (path: unknown): string {
  if (typeof path !== 'string' || !/^(\/|(\/[\w\-.~@!$&'(),;=+]+)+)$/.test(path)) {
    throw invalid('path', 'must be an absolute URL path such as "/__ds", without parameters, query, wildcard, escapes or a slash at its end')
  }
  return path
}

function checkOrigins (origins: unknown): DatasoleServerOptions['allowedOrigins'] {
  if (origins === undefined || typeof origins === 'function') return origins as DatasoleServerOptions['allowedOrigins']
  if (!Array.isArray(origins)) throw invalid('allowedOrigins', 'must be a list of origins or a function')
  return origins.map((origin, i) => {
    const normal = typeof origin === 'string' ? normalOrigin(origin) : undefined
    if (normal === undefined) throw invalid(`allowedOrigins[${i}]`, 'must be an origin such as "https://app.example.com" or "capacitor://localhost", or "null"')
    return normal
  })
}

/** Checks types only. Fastify checks the addresses when it compiles them. */
function checkTrustProxy (trusted: unknown): void {
  if (['undefined', 'boolean', 'string', 'function'].includes(typeof trusted)) return
  if (Array.isArray(trusted) && trusted.every((address) => typeof address === 'string')) return
  throw invalid('trustProxy', 'must be true or false, addresses such as "10.0.0.0/8", or a function (address) => boolean')
}

function checkBackendConfig ({ backendConfig = { type: 'memory' } }: DatasoleServerOptions): BackendConfig {
  if (!isObject(backendConfig)) throw invalid('backendConfig', 'must be an object with a type')
  const { type } = backendConfig
  if (!['memory', 'redis', 'postgres'].includes(type)) throw invalid('backendConfig.type', `must be "memory", "redis" or "postgres", not ${JSON.stringify(type)}`)
  for (const [name, value] of Object.entries(backendConfig)) {
    if (name === 'type' || value === undefined) continue
    // options of the other types are checked, too: a configuration file may have all of them and choose by type
    if (name !== 'redis' && name !== 'postgres') throw invalid(`backendConfig.${name}`, 'is unknown: use type, redis or postgres')
    if (!isObject(value)) throw invalid(`backendConfig.${name}`, 'must be an object')
  }
  return backendConfig
}

/** @throws DatasoleError `INVALID_OPTION` */
export function checkStateBackend (stateBackend: StateBackend | undefined): StateBackend | undefined {
  if (stateBackend === undefined) return undefined
  checkMethods('stateBackend', stateBackend, BACKEND_METHODS)
  const journal = JOURNAL_METHODS.filter((method) => stateBackend[method] !== undefined)
  if (journal.length !== 0 && journal.length !== JOURNAL_METHODS.length) {
    throw invalid('stateBackend', `has only ${journal.join(' and ')}: implement all of ${JOURNAL_METHODS.join(', ')}, or none of them`)
  }
  return stateBackend
}

/** @throws DatasoleError `INVALID_OPTION` */
export function resolveRateLimit (config: RateLimitConfig | false): Settings['rateLimit'] {
  if (config === false) return false
  if (!isObject(config)) throw invalid('rateLimit', 'must be an object, or false')
  for (const name of Object.keys(config)) {
    if (!['defaultRule', 'rules', 'keyExtractor', 'onBackendError', 'timeoutMs'].includes(name)) throw invalid(`rateLimit.${name}`, 'is not an option of datasole')
  }
  const { onBackendError = 'local', timeoutMs = 1000, rules: ownRules = {} } = config
  if (!['local', 'allow', 'deny'].includes(onBackendError)) throw invalid('rateLimit.onBackendError', 'must be "local", "allow" or "deny"')
  integer('rateLimit.timeoutMs', timeoutMs, 1, TIMER)
  const defaultRule = checkRule('rateLimit.defaultRule', config.defaultRule === undefined ? { windowMs: 60_000, maxRequests: 100 } : config.defaultRule)
  if (config.keyExtractor !== undefined) checkFunction('rateLimit.keyExtractor', config.keyExtractor)
  const rules = new Map<string, RateLimitRule>()
  if (!isObject(ownRules)) throw invalid('rateLimit.rules', 'must be an object')
  for (const [name, rule] of Object.entries(ownRules)) rules.set(name, checkRule(`rateLimit.rules.${name}`, rule))
  const subscribeRule = rules.get('$subscribe') ?? { windowMs: defaultRule.windowMs, maxRequests: defaultRule.maxRequests * 10 }
  rules.delete('$subscribe')
  return { ...config, defaultRule, rules, subscribeRule, onBackendError, timeoutMs }
}

/** @throws DatasoleError `INVALID_OPTION` */
export function checkRateLimiter (rateLimiter: RateLimiter | undefined): RateLimiter | undefined {
  if (rateLimiter === undefined) return undefined
  checkMethods('rateLimiter', rateLimiter, LIMITER_METHODS)
  checkMethods('rateLimiter', rateLimiter, (['connect', 'close'] as const).filter((method) => rateLimiter[method] !== undefined))
  return rateLimiter
}

function checkRule (name: string, rule: Partial<RateLimitRule>): RateLimitRule {
  if (!isObject(rule)) throw invalid(name, 'must be { windowMs, maxRequests }')
  return {
    windowMs: integer(`${name}.windowMs`, rule.windowMs, 1, TIMER),
    maxRequests: integer(`${name}.maxRequests`, rule.maxRequests, 0, 1_000_000)
  }
}

/** @throws DatasoleError `INVALID_OPTION` */
export function resolveSession (session: SessionOptions): Settings['session'] {
  if (!isObject(session)) throw invalid('session', 'must be an object')
  for (const name of Object.keys(session)) {
    if (!['flushThreshold', 'flushIntervalMs', 'ttlMs', 'enableChangeStream'].includes(name)) throw invalid(`session.${name}`, 'is not an option of datasole')
  }
  const { flushThreshold = 10, flushIntervalMs = 5000, ttlMs, enableChangeStream = false } = session
  if (typeof enableChangeStream !== 'boolean') throw invalid('session.enableChangeStream', `must be true or false, not ${String(enableChangeStream)}`)
  return {
    flushThreshold: integer('session.flushThreshold', flushThreshold, 1, Infinity),
    flushIntervalMs: integer('session.flushIntervalMs', flushIntervalMs, 1, TIMER),
    ttlMs: ttlMs === undefined ? undefined : integer('session.ttlMs', ttlMs, 1, CENTURY),
    enableChangeStream
  }
}

function resolveCompression (compression: { threshold?: number } | false): number {
  if (compression === false) return Infinity
  if (!isObject(compression)) throw invalid('compression', 'must be { threshold }, or false')
  for (const name of Object.keys(compression)) if (name !== 'threshold') throw invalid(`compression.${name}`, 'is not an option of datasole')
  const { threshold = 1024 } = compression
  return integer('compression.threshold', threshold, 0, Infinity)
}
