import type { Bytes } from './codec.js'
import type { LinkEvents, WebSocketConstructor } from './link.js'
import { SocketLink } from './socket-link.js'
import type { FromWorker, ToWorker } from './worker-link.js'

/** Size in bytes at which a message to the page is full. The page can draw between two messages. */
const MAX_BATCH = 64 * 1024
/** Size in bytes from which on a frame is transferred. Smaller frames are cheaper to copy. */
const LARGE = 8 * 1024

/** The global scope of the Web Worker. This file is its entry: a socket link controlled by messages. */
const scope = globalThis as unknown as {
  WebSocket: WebSocketConstructor
  onmessage: ((event: { data: ToWorker }) => void) | null
  postMessage (message: FromWorker, transfer?: ArrayBufferLike[]): void
}

let link: SocketLink | undefined
let frames: Bytes[] = []
let size = 0
const { port1, port2 } = new MessageChannel() as unknown as Record<'port1' | 'port2', { onmessage: () => void, postMessage (message: null): void }>
// flush in a separate task, so that frames which have arrived by then are sent together
port1.onmessage = flush

function flush (): void {
  if (frames.length === 0) return
  const batch = frames
  frames = []
  size = 0
  scope.postMessage({ type: 'frames', frames: batch }, batch.filter((frame) => frame.length >= LARGE).map(({ buffer }) => buffer))
}

/** Sends a message after the frames before it. */
function post (message: FromWorker): void {
  flush()
  scope.postMessage(message)
}

const events: LinkEvents = {
  onState: (state, welcome, failure) => { post({ type: 'state', state, welcome, failure }) },
  onFrame: (frame) => {
    if (frames.push(frame) === 1) port2.postMessage(null)
    size += frame.length
    if (size >= MAX_BATCH) flush()
  },
  onUnsent: (correlationId, failure) => { post({ type: 'unsent', correlationId, failure }) },
  onOffer: () => { post({ type: 'offer' }) },
  onProblem: (failure) => { post({ type: 'problem', failure }) }
}
scope.onmessage = ({ data }) => {
  if (data.type === 'send') for (const message of data.messages) link?.send(...message)
  else if (data.type === 'page') link?.page(data.event)
  else if (data.type === 'offer') link?.offer(data.protocols)
  else if (data.type === 'close') link?.close()
  else (link = new SocketLink(data.options, scope.WebSocket, events)).open()
}
scope.postMessage({ type: 'ready' })
