import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import t from 'tap'
import { WebSocket } from 'ws'
import type { WebSocketConstructor } from '../../lib/client/client.js'
import { Opcode } from '../../lib/protocol/opcodes.js'
import { watch } from './dialled.js'
import { listen } from './peer.js'

// every kind of WebSocket that a client may get: where no connection can be made, that of ws and browsers
// fires error and close, Node.js 22's fires error only, and Node.js 24's fires both

/** What Node.js 22's WebSocket does, for versions without one. */
class OnlyError {
  binaryType = ''
  onopen: (() => void) | null = null
  onmessage: ((event: unknown) => void) | null = null
  onclose: ((event: unknown) => void) | null = null
  onerror: ((event: unknown) => void) | null = null
  readonly #socket: WebSocket

  constructor (url: string, protocols: string[]) {
    const socket = this.#socket = new WebSocket(url, protocols)
    socket.binaryType = 'arraybuffer'
    let isOpen = false
    socket.onopen = () => {
      isOpen = true
      this.onopen?.()
    }
    socket.onmessage = (event) => this.onmessage?.(event)
    socket.onerror = () => this.onerror?.({ type: 'error', message: isOpen ? '' : 'Received network error or non-101 status code.' })
    socket.onclose = (event) => { if (isOpen) this.onclose?.(event) }
  }

  get bufferedAmount (): number { return this.#socket.bufferedAmount }
  send (data: Uint8Array): void { this.#socket.send(data) }
  close (code?: number): void { this.#socket.close(code) }
}

const own = (globalThis as { WebSocket?: unknown }).WebSocket
const kinds: Array<[name: string, constructor: WebSocketConstructor]> = [
  ['of ws', WebSocket as unknown as WebSocketConstructor],
  ['that fires error without close', OnlyError as unknown as WebSocketConstructor],
  ...own === undefined ? [] : [['of this Node.js', own as WebSocketConstructor] as [string, WebSocketConstructor]]
]

/** An http server that refuses each upgrade with the status in its path. */
async function refusing (t: { teardown (fn: () => unknown): void }): Promise<string> {
  const http = createServer().listen(0, '127.0.0.1')
  t.teardown(() => { http.close() })
  await once(http, 'listening')
  http.on('upgrade', (request, socket) => { socket.end(`HTTP/1.1 ${request.url!.split('/')[1]} No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`) })
  return `http://127.0.0.1:${(http.address() as AddressInfo).port}`
}

for (const [name, webSocket] of kinds) {
  t.test(`a WebSocket ${name}`, async (t) => {
    t.test('an attempt that fails ends at once, whatever the reason', async (t) => {
      const url = await refusing(t)
      const gone = await listen(t)
      await gone.stop()
      for (const address of [`${url}/401`, `${url}/403`, `${url}/404`, `${url}/503`, gone.url, 'ws://nowhere.invalid']) {
        const { client, states, causes } = watch(t, { url: address, webSocket, maxReconnectAttempts: 2, onError: () => {} })
        await t.rejects(client.connect(), { code: 'CONNECT_FAILED' }, address)
        t.strictSame(states, ['connecting', 'reconnecting', 'disconnected'], 'and each attempt counts once')
        t.notMatch(causes[1]!.message, /no answer within/)
      }
    })

    t.test('calls and large frames go both ways, a loss is noticed, and it comes back', async (t) => {
      const server = await listen(t)
      const { client, states, causes, until } = watch(t, { url: server.url, webSocket })
      const connected = client.connect()
      const peer = (await server.accept()).welcome()
      await connected
      const params = { text: 'äbc'.repeat(50_000) }
      const answer = client.rpc('echo', params)
      const call = await peer.next(Opcode.RPC_REQ)
      t.strictSame(call.payload.params, params)
      peer.result(call, params)
      t.strictSame(await answer, params)
      peer.socket.terminate()
      ;(await server.accept()).welcome()
      await until(() => states.at(-1) === 'connected')
      t.match(causes[2], { code: 'CONNECTION_LOST' })
      await client.disconnect()
      t.strictSame(states, ['connecting', 'connected', 'reconnecting', 'connected', 'disconnected'])
    })

    t.test('it waits for a server that comes late, and its close codes are understood', async (t) => {
      const first = await listen(t)
      const { port } = first
      await first.stop()
      const { client, states, errors, until } = watch(t, { url: first.url, webSocket })
      const connected = client.connect()
      await until(() => states.includes('reconnecting'))
      const late = await listen(t, port)
      const peer = (await late.accept()).welcome()
      await connected
      peer.socket.close(1008, 'go away')
      await until(() => states.at(-1) === 'disconnected')
      t.match(errors.at(-1), { code: 'POLICY', message: /go away/ })
    })

    t.test('after 4401, failures of the network are no answer about the token', async (t) => {
      const server = await listen(t)
      const { port } = server
      let asked = 0
      let asksOften = (): void => {}
      const hasAskedOften = new Promise<void>((resolve) => { asksOften = resolve })
      const getToken = (): string => {
        if (++asked === 5) asksOften()
        return `t${asked}`
      }
      const { client, states, until } = watch(t, { url: server.url, webSocket, getToken })
      const connected = client.connect()
      const peer = (await server.accept()).welcome()
      await connected
      peer.socket.close(4401, 'revoked')
      await until(() => states.includes('reconnecting'))
      await server.stop()
      await hasAskedOften
      t.equal(client.getConnectionState(), 'reconnecting')
      const back = await listen(t, port)
      ;(await back.accept()).welcome()
      await until(() => states.at(-1) === 'connected')
      await client.disconnect()
    })

    t.test('disconnect() while it connects leaves nothing behind', async (t) => {
      const server = await listen(t)
      const { client, states } = watch(t, { url: server.url, webSocket })
      const connected = client.connect()
      await client.disconnect()
      await t.rejects(connected, { code: 'DISCONNECTED' })
      await new Promise((resolve) => setTimeout(resolve, 50))
      t.strictSame(states, ['connecting', 'disconnected'])
    })
  })
}
