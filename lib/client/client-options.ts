import { DatasoleError } from '../protocol/errors.js'
import { DEFAULT_PATH, SUBPROTOCOLS, TOKEN_SUBPROTOCOL } from '../protocol/opcodes.js'
import { addressesOf } from './addresses.js'
import type { Inflate } from './compression.js'
import type { LinkOptions, WebSocketConstructor } from './link.js'
import { type WorkerLike, workerConstructor } from './load-worker.js'

/** Options of a client. A wrong value or an unknown name throws `INVALID_OPTION`, which names the option. */
export interface DatasoleClientOptions {
  /**
   * URL of the server: http(s):, ws(s):, or relative to the page's origin. Default: the page's origin. The client
   * appends `path` unless the URL already ends with it, and keeps the query.
   */
  url?: string
  /** The server's `path`. Default `/__ds`. */
  path?: string
  /** The token, which is sent in the handshake, never in the URL. */
  auth?: { token?: string }
  /**
   * Returns the token for each connection, and when the server asks for a new one; `''` for none. Return a fresh token
   * each time, because the server refuses an expired one again. Excludes `auth.token`.
   */
  getToken?: () => string | Promise<string>
  /** Runs the socket in a Web Worker. Default: in pages, if the worker loads. With `true`, a worker that fails to load is an error. */
  useWorker?: boolean
  /** URL of the worker's script, of any origin. Default `datasole-worker.iife.min.js` below `path`. */
  workerUrl?: string
  /** Creates the worker of `datasole/client/worker`, for bundlers: see the client's page. Excludes `workerUrl`. */
  worker?: () => ClientWorker
  /** Reconnects after a lost connection. Default true. */
  reconnect?: boolean
  /** Upper bound of the first random delay in ms. It doubles up to 30 s. Default 1,000. */
  reconnectInterval?: number
  /** Maximum number of attempts to reconnect. Default Infinity. */
  maxReconnectAttempts?: number
  /** Timeout in ms of `connect()`, which then rejects; the client gives up. Default 0, no limit. */
  connectTimeoutMs?: number
  /** Timeout of a call in ms. Default 30,000; 0 for no limit. */
  rpcTimeoutMs?: number
  /** A WebSocket implementation, such as `WebSocket` of the package `ws`. Node.js before 22 needs one. */
  webSocket?: WebSocketConstructor
  /** Inflates a zlib stream (RFC 1950). Platforms without DecompressionStream, such as React Native, need it: `unzlibSync` of fflate. */
  inflate?: Inflate
  /** Queues events emitted while the client is disconnected. Default: events are queued only while it connects or reconnects. */
  outbox?: OutboxOptions
  /** The version of the contract that this client was built with: see `defineContract`. Default none, which every server accepts. */
  contractVersion?: number
  /** Called when the server does not accept `contractVersion`. The client has given up, so reload the page. */
  onContractMismatch?: (error: DatasoleError) => void
  /** Gets errors for which there is no promise: datasole's own, and those that handlers throw. Default console.error. */
  onError?: (error: unknown) => void
}

/** The option `outbox`: bounds of the events that wait for a connection. */
export interface OutboxOptions {
  /** Maximum number of queued events. Default 1,000, which is also the maximum for queued events and calls together. */
  maxEvents?: number
  /** ms after which a queued event is dropped. Default: never. */
  maxAgeMs?: number
}

/** The part of a Worker that the result of the option `worker` must have. Every `Worker` has it. */
export interface ClientWorker extends Pick<WorkerLike<never, never>, 'terminate'> {
  onmessage: ((event: never) => void) | null
  onerror: ((event: never) => void) | null
  postMessage (message: never): void
}

export interface ClientSettings {
  link: LinkOptions
  webSocket: WebSocketConstructor
  worker: (() => ClientWorker) | undefined
  workerUrl: string
  /** undefined: the platform's inflater */
  inflate: Inflate | undefined
  outbox: OutboxOptions | undefined
  /** undefined: use a worker if it loads */
  useWorker: boolean | undefined
  /** Rejects if the user's function does not return a string. */
  getToken: (() => Promise<string>) | undefined
  /** 0 for no limit */
  connectTimeoutMs: number
  rpcTimeoutMs: number
  onContractMismatch: ((error: DatasoleError) => void) | undefined
  onError: (error: unknown) => void
}

/** Delays in ms from which on setTimeout would fire at once. */
const MAX_TIMER = 2 ** 31

type Rule = 'string' | 'boolean' | 'function' | 'object' | 'any' | 'ms' | 'number' | 'whole'

/** The options and their types. Options of type `any` are checked where they are used. */
const rules: Record<keyof DatasoleClientOptions | 'auth.token' | 'outbox.maxEvents' | 'outbox.maxAgeMs', Rule> = {
  url: 'any',
  path: 'string',
  auth: 'object',
  'auth.token': 'string',
  getToken: 'function',
  useWorker: 'boolean',
  workerUrl: 'string',
  worker: 'function',
  reconnect: 'boolean',
  reconnectInterval: 'number',
  maxReconnectAttempts: 'number',
  connectTimeoutMs: 'ms',
  rpcTimeoutMs: 'ms',
  webSocket: 'any',
  inflate: 'function',
  outbox: 'object',
  'outbox.maxEvents': 'whole',
  'outbox.maxAgeMs': 'ms',
  contractVersion: 'whole',
  onContractMismatch: 'function',
  onError: 'function'
}

function keeps (rule: Rule, value: unknown): boolean {
  if (rule === 'object') return isObject(value)
  if (rule === 'number') return typeof value === 'number' && value >= 0
  if (rule === 'ms' || rule === 'whole') return Number.isSafeInteger(value) && value as number >= 0 && (rule === 'whole' || value as number < MAX_TIMER)
  return rule === 'any' || typeof value === rule // eslint-disable-line valid-typeof -- the other rules are names of types
}

function isObject (value: unknown): boolean {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function check (options: object, prefix = ''): void {
  for (const [name, value] of Object.entries(options)) {
    const rule = Object.hasOwn(rules, prefix + name) ? rules[prefix + name as keyof typeof rules] : undefined
    if (rule === undefined) throw invalid(prefix + name, 'is not an option of the client')
    if (value !== undefined && !keeps(rule, value)) throw invalid(prefix + name, rule === 'ms' || rule === 'whole' ? 'must be a whole number from 0' : `must be a ${rule}`)
  }
}

/** Checks the options and applies defaults. @throws DatasoleError `INVALID_OPTION`; the message names the option */
export function resolveOptions (options: DatasoleClientOptions): ClientSettings {
  if (!isObject(options)) throw new DatasoleError('INVALID_OPTION', 'datasole client: the options must be an object')
  check(options)
  const { contractVersion, path = DEFAULT_PATH, auth = {}, getToken, reconnect = true, reconnectInterval = 1000, maxReconnectAttempts = Infinity, connectTimeoutMs = 0, rpcTimeoutMs = 30_000, outbox, useWorker, worker, workerUrl, inflate, onContractMismatch } = options
  check(auth, 'auth.')
  check(outbox ?? {}, 'outbox.')
  if (!/^\/(?![/\\])[^?#]*$/.test(path)) throw invalid('path', 'must be a path such as "/__ds"')
  if (!(reconnectInterval > 0 && reconnectInterval < MAX_TIMER)) throw invalid('reconnectInterval', 'must be above 0 ms')
  if ((outbox?.maxEvents ?? 0) > 1000) throw invalid('outbox.maxEvents', 'must be at most 1,000')
  if (getToken !== undefined && auth.token !== undefined) throw invalid('getToken', 'excludes auth.token: pass only one')
  if (worker !== undefined && workerUrl !== undefined) throw invalid('worker', 'excludes workerUrl: pass only one')
  const webSocket = options.webSocket ?? (globalThis as { WebSocket?: WebSocketConstructor }).WebSocket
  if (typeof webSocket !== 'function') throw invalid('webSocket', 'is needed before Node.js 22: pass WebSocket of the package ws')
  // checked here, because the file with the platform's inflater is not loaded yet
  if ((inflate ?? (globalThis as { DecompressionStream?: unknown }).DecompressionStream) === undefined) throw invalid('inflate', 'is needed without DecompressionStream: pass unzlibSync of fflate')
  const addresses = addressesOf(options.url, path)
  const isOwnThread = options.webSocket ?? options.inflate
  if (useWorker === true && worker === undefined && workerConstructor() === undefined) throw invalid('useWorker', 'is true, but this platform has no Web Workers')
  if (useWorker === true && isOwnThread !== undefined) throw invalid(options.webSocket === undefined ? 'inflate' : 'webSocket', 'cannot be sent to a Web Worker: set useWorker: false')
  return {
    link: {
      url: contractVersion === undefined ? addresses.socket : `${addresses.socket}${addresses.socket.includes('?') ? '&' : '?'}contract=${contractVersion}`,
      protocols: getToken === undefined ? protocolsOf(auth.token) : undefined,
      reconnect,
      reconnectInterval,
      maxReconnectAttempts
    },
    webSocket,
    inflate,
    outbox,
    worker,
    workerUrl: workerUrl ?? addresses.worker,
    useWorker: useWorker ?? (isOwnThread !== undefined || (worker === undefined && (workerConstructor() === undefined || !isPage())) ? false : undefined),
    getToken: getToken && (async () => checkToken(await getToken())),
    connectTimeoutMs,
    rpcTimeoutMs,
    onContractMismatch,
    // eslint-disable-next-line no-console -- without a listener the error must be visible somewhere
    onError: harmless(options.onError ?? ((error) => { console.error(error) }))
  }
}

/** The subprotocols of the handshake: the protocol versions, and one that carries the token. */
export function protocolsOf (token = ''): string[] {
  const protocols = Object.keys(SUBPROTOCOLS)
  return token === '' ? protocols : [...protocols, TOKEN_SUBPROTOCOL + base64url(token)]
}

/** Throws an error of the callback in a separate task, so that later frames are still delivered. */
function harmless (onError: (error: unknown) => void): (error: unknown) => void {
  return (error) => {
    try {
      onError(error)
    } catch (thrown) {
      setTimeout(() => { throw thrown })
    }
  }
}

function checkToken (token: unknown): string {
  if (typeof token !== 'string') throw new TypeError(`getToken gave ${String(token)}, not a string`)
  return token
}

function isPage (): boolean {
  return (globalThis as { document?: unknown }).document !== undefined
}

function base64url (text: string): string {
  return btoa(String.fromCharCode(...new TextEncoder().encode(text))).replaceAll('+', '-').replaceAll('/', '_').replace(/=+$/, '')
}

function invalid (name: string, why: string): DatasoleError {
  return new DatasoleError('INVALID_OPTION', `datasole client: option ${name} ${why}`)
}
