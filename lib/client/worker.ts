import type { WebSocketConstructor } from './link.js'
import { SocketLink } from './socket-link.js'
import type { FromWorker, ToWorker } from './worker-link.js'

/** The entry of the Web Worker: a socket link that is driven by messages. */
const scope = globalThis as unknown as {
  WebSocket: WebSocketConstructor
  onmessage: ((event: { data: ToWorker }) => void) | null
  postMessage (message: FromWorker): void
}

let link: SocketLink | undefined

scope.onmessage = ({ data }) => {
  if (data.type === 'send') {
    link?.send(data.opcode, data.correlationId, data.json)
  } else if (data.type === 'offer') {
    link?.offer(data.protocols)
  } else if (data.type === 'close') {
    link?.close()
  } else {
    link = new SocketLink(data.options, scope.WebSocket, {
      onState: (state, welcome, failure) => { scope.postMessage({ type: 'state', state, welcome, failure }) },
      onMessage: (message) => { scope.postMessage({ type: 'message', message }) },
      onUnsent: (correlationId, failure) => { scope.postMessage({ type: 'unsent', correlationId, failure }) },
      onOffer: () => { scope.postMessage({ type: 'offer' }) },
      onProblem: (failure) => { scope.postMessage({ type: 'problem', failure }) }
    })
    link.open()
  }
}

scope.postMessage({ type: 'ready' })
