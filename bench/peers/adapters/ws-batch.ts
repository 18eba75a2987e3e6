import type { Peer, PeerOptions } from '../peer.js'
import { serve, ws } from './ws.js'

export { protocol } from './ws.js'

const SOCKETS_PER_TURN = 128

type Target = Parameters<Parameters<typeof serve>[2]>[0]

/** As `ws`, with one write per socket for all that waits, and 128 sockets in a turn of the event loop. */
export async function start (options: PeerOptions): Promise<Peer> {
  const waiting = new Map<Target, Buffer[]>()
  let isScheduled = false
  const flush = (): void => {
    let left = SOCKETS_PER_TURN
    for (const [socket, parts] of waiting) {
      waiting.delete(socket)
      socket._socket.write(parts.length === 1 ? parts[0]! : Buffer.concat(parts))
      if (--left === 0) break
    }
    isScheduled = waiting.size > 0
    if (isScheduled) setImmediate(flush)
  }
  const { Sender } = await ws()
  return await serve(options, Sender, (socket, bytes) => {
    const parts = waiting.get(socket)
    if (parts === undefined) waiting.set(socket, [bytes])
    else parts.push(bytes)
    if (isScheduled) return
    isScheduled = true
    setImmediate(flush)
  })
}
