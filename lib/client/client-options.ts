import { DatasoleError } from '../protocol/errors.js'
import { DEFAULT_PATH, SUBPROTOCOL, TOKEN_SUBPROTOCOL } from '../protocol/opcodes.js'
import { addressesOf } from './addresses.js'
import type { LinkOptions, WebSocketConstructor } from './link.js'
import { workerConstructor } from './load-worker.js'

export interface DatasoleClientOptions {
  /**
   * URL of the server: http(s):, ws(s):, or relative to the page's origin. Default: the page's origin. `path` is
   * appended unless the URL ends in it already. The query is kept.
   */
  url?: string
  /** The server's `path`. Default `/__ds`. */
  path?: string
  /** Sent in the handshake, never in the URL. */
  auth?: { token?: string }
  /**
   * Returns the token for each connection, and when the server asks for a new one; `''` for none. Return a
   * fresh token each time, as the server refuses an expired one again. Not together with `auth.token`.
   */
  getToken?: () => string | Promise<string>
  /** Run the socket in a Web Worker. Default: in pages, if the worker loads. `true` fails if it does not load. */
  useWorker?: boolean
  /** URL of the worker's script. Default `datasole-worker.iife.min.js` below `path`. Another origin works too. */
  workerUrl?: string
  /** Reconnect after a lost connection. Default true. */
  reconnect?: boolean
  /** ms, upper bound of the first random wait. It doubles up to 30 s. Default 1,000. */
  reconnectInterval?: number
  /** Attempts after which the client gives up. Default Infinity. */
  maxReconnectAttempts?: number
  /** ms after which `connect()` rejects and the client gives up. Default 0, no limit. */
  connectTimeoutMs?: number
  /** ms that a call waits for its answer. Default 30,000; 0 for no limit. */
  rpcTimeoutMs?: number
  /** A WebSocket implementation such as that of `ws`. Node.js before 22 needs one. */
  webSocket?: WebSocketConstructor
  /** The version of the contract that this client was built with: see `defineContract`. Default: none, which every server takes. */
  contractVersion?: number
  /** The server does not take `contractVersion`, and the client has given up: time to reload the page. */
  onContractMismatch?: (error: DatasoleError) => void
  /** Told of what goes wrong where no promise can reject. Default console.error. */
  onError?: (error: unknown) => void
}

export interface ClientSettings {
  link: LinkOptions
  webSocket: WebSocketConstructor
  workerUrl: string
  /** undefined: if the worker loads. */
  useWorker: boolean | undefined
  /** Rejects if the user's function returns no string. */
  getToken: (() => Promise<string>) | undefined
  /** 0 for no limit */
  connectTimeoutMs: number
  rpcTimeoutMs: number
  onContractMismatch: ((error: DatasoleError) => void) | undefined
  onError: (error: unknown) => void
}

/** Checks the options and fills in defaults. @throws DatasoleError `INVALID_OPTION`, naming the option */
export function resolveOptions (options: DatasoleClientOptions): ClientSettings {
  if (typeof options !== 'object' || options === null || Array.isArray(options)) throw new DatasoleError('INVALID_OPTION', 'datasole client: the options must be an object')
  const { contractVersion, path = DEFAULT_PATH, auth, getToken, reconnect = true, reconnectInterval = 1000, maxReconnectAttempts = Infinity, connectTimeoutMs = 0, rpcTimeoutMs = 30_000 } = options
  const names = ['url', 'path', 'auth', 'getToken', 'useWorker', 'workerUrl', 'reconnect', 'reconnectInterval', 'maxReconnectAttempts', 'connectTimeoutMs', 'rpcTimeoutMs', 'webSocket', 'contractVersion', 'onContractMismatch', 'onError']
  for (const name of Object.keys(options)) if (!names.includes(name)) throw invalid(name, 'is not an option of the client')
  check('path', typeof path === 'string' && /^\/(?![/\\])[^?#]*$/.test(path), 'must be a path such as "/__ds"')
  check('auth.token', auth?.token === undefined || typeof auth.token === 'string', 'must be a string')
  check('getToken', getToken === undefined || typeof getToken === 'function', 'must be a function')
  check('getToken', getToken === undefined || auth?.token === undefined, 'and auth.token exclude each other: pass only one')
  check('useWorker', options.useWorker === undefined || typeof options.useWorker === 'boolean', 'must be a boolean')
  check('workerUrl', options.workerUrl === undefined || typeof options.workerUrl === 'string', 'must be a string')
  check('reconnect', typeof reconnect === 'boolean', 'must be a boolean')
  check('reconnectInterval', typeof reconnectInterval === 'number' && reconnectInterval > 0 && reconnectInterval < 2 ** 31, 'must be a number of ms above 0')
  check('maxReconnectAttempts', typeof maxReconnectAttempts === 'number' && maxReconnectAttempts >= 0, 'must be a number from 0')
  check('connectTimeoutMs', Number.isInteger(connectTimeoutMs) && connectTimeoutMs >= 0 && connectTimeoutMs < 2 ** 31, 'must be a whole number of ms from 0')
  check('rpcTimeoutMs', Number.isInteger(rpcTimeoutMs) && rpcTimeoutMs >= 0 && rpcTimeoutMs < 2 ** 31, 'must be a whole number of ms from 0')
  check('contractVersion', contractVersion === undefined || (Number.isSafeInteger(contractVersion) && contractVersion >= 0), 'must be a whole number from 0')
  check('onContractMismatch', options.onContractMismatch === undefined || typeof options.onContractMismatch === 'function', 'must be a function')
  check('onError', options.onError === undefined || typeof options.onError === 'function', 'must be a function')
  const webSocket = options.webSocket ?? (globalThis as { WebSocket?: WebSocketConstructor }).WebSocket
  if (typeof webSocket !== 'function') throw invalid('webSocket', 'is needed, as this Node.js has no WebSocket of its own (22 has): pass that of the package ws')
  const addresses = addressesOf(options.url, path)
  if (options.useWorker === true && workerConstructor() === undefined) throw invalid('useWorker', 'is true, but there are no Web Workers here')
  if (options.useWorker === true && options.webSocket !== undefined) throw invalid('webSocket', 'cannot be handed to a Web Worker: set useWorker: false')
  return {
    link: {
      url: contractVersion === undefined ? addresses.socket : `${addresses.socket}${addresses.socket.includes('?') ? '&' : '?'}contract=${contractVersion}`,
      protocols: getToken === undefined ? protocolsOf(auth?.token) : undefined,
      reconnect,
      reconnectInterval,
      maxReconnectAttempts
    },
    webSocket,
    workerUrl: options.workerUrl ?? addresses.worker,
    useWorker: options.useWorker ?? (workerConstructor() === undefined || options.webSocket !== undefined || !isPage() ? false : undefined),
    getToken: getToken && (async () => checkToken(await getToken())),
    connectTimeoutMs,
    rpcTimeoutMs,
    onContractMismatch: options.onContractMismatch,
    // eslint-disable-next-line no-console -- where nobody listens, it has to be seen somewhere
    onError: options.onError ?? ((error) => { console.error(error) })
  }
}

/** The subprotocols of the handshake: the protocol, and one that carries the token. */
export function protocolsOf (token = ''): string[] {
  return token === '' ? [SUBPROTOCOL] : [SUBPROTOCOL, TOKEN_SUBPROTOCOL + base64url(token)]
}

function checkToken (token: unknown): string {
  if (typeof token !== 'string') throw new TypeError(`getToken gave ${token === null ? 'null' : typeof token}, not a string`)
  return token
}

function isPage (): boolean {
  return (globalThis as { document?: unknown }).document !== undefined
}

function base64url (text: string): string {
  return btoa(String.fromCharCode(...new TextEncoder().encode(text))).replaceAll('+', '-').replaceAll('/', '_').replace(/=+$/, '')
}

function check (name: string, isRight: boolean, why: string): void {
  if (!isRight) throw invalid(name, why)
}

function invalid (name: string, why: string): DatasoleError {
  return new DatasoleError('INVALID_OPTION', `datasole client: option ${name} ${why}`)
}
