import type { Duplex } from 'node:stream'

/** Answers an upgrade that nobody takes. The socket ends with the answer, whether or not the client ends its side. */
export function refuseUpgrade (socket: Duplex, status: '404 Not Found' | '500 Internal Server Error' | '503 Service Unavailable'): void {
  socket.on('error', () => { socket.destroy() })
  socket.once('finish', () => { socket.destroy() })
  socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`)
}
