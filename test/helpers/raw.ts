import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { type Socket, connect } from 'node:net'

/** A TCP connection, before anyone has said anything. It may be reset at any time. */
export async function tcp (port: number, { allowHalfOpen = false } = {}): Promise<Socket> {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen })
  await once(socket, 'connect')
  // a reset is what many of these tests are about
  socket.on('error', () => {})
  return socket
}

/** What the server says to these bytes until it closes the connection. */
export async function exchange (port: number, bytes: string | Uint8Array): Promise<string> {
  const socket = await tcp(port)
  socket.write(bytes)
  let text = ''
  socket.on('data', (chunk) => { text += chunk.toString('latin1') })
  await once(socket, 'close')
  return text
}

/** The head of an upgrade request, with the lines that are added or replaced. */
export function upgradeRequest (target: string, headers: Record<string, string> = {}): string {
  const lines = {
    Host: '127.0.0.1',
    Connection: 'Upgrade',
    Upgrade: 'websocket',
    'Sec-WebSocket-Version': '13',
    'Sec-WebSocket-Key': randomBytes(16).toString('base64'),
    'Sec-WebSocket-Protocol': 'datasole.v2',
    ...headers
  }
  return `GET ${target} HTTP/1.1\r\n${Object.entries(lines).map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n`
}

/** A TCP connection on which the upgrade has been granted; what comes after it is the test's. */
export async function upgraded (port: number, target = '/__ds'): Promise<Socket> {
  const socket = await tcp(port)
  socket.write(upgradeRequest(target))
  const [head] = await once(socket, 'data') as [Buffer]
  if (!head.toString('latin1').startsWith('HTTP/1.1 101')) throw new Error(`not upgraded: ${head.toString('latin1')}`)
  return socket
}

/** A WebSocket frame of a client (RFC 6455 section 5.2). */
export function webSocketFrame (payload: Uint8Array, { opcode = 2, fin = true, masked = true, rsv = 0 } = {}): Buffer {
  const { length } = payload
  const extended = length < 126 ? Buffer.alloc(0) : length < 65536 ? Buffer.alloc(2) : Buffer.alloc(8)
  if (extended.length === 2) extended.writeUInt16BE(length)
  if (extended.length === 8) extended.writeBigUInt64BE(BigInt(length))
  const short = [0, 2, 8].indexOf(extended.length) === 0 ? length : extended.length === 2 ? 126 : 127
  // a mask of zeros leaves the payload as it is
  const mask = masked ? Buffer.alloc(4) : Buffer.alloc(0)
  return Buffer.concat([Buffer.from([(fin ? 0x80 : 0) | rsv << 4 | opcode, (masked ? 0x80 : 0) | short]), extended, mask, payload])
}
