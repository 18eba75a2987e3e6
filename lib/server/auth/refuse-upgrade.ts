import { STATUS_CODES } from 'node:http'
import type { Duplex } from 'node:stream'
import type { Rejection } from './admission.js'

/**
 * Refuses an upgrade. The socket ends after the answer, whether or not the client ends its side.
 * @param rejection without `error` the answer has no body
 */
export function refuseUpgrade (socket: Duplex, { status, error }: Pick<Rejection, 'status'> & Partial<Rejection>): void {
  const body = error === undefined ? '' : JSON.stringify({ statusCode: status, error })
  const type = body === '' ? '' : 'Content-Type: application/json; charset=utf-8\r\n'
  socket.on('error', () => { socket.destroy() })
  socket.once('finish', () => { socket.destroy() })
  socket.end(`HTTP/1.1 ${status} ${STATUS_CODES[status]!}\r\nConnection: close\r\n${type}Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`)
}
