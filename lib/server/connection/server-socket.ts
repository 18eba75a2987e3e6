import type { Duplex } from 'node:stream'

/** Bytes that a stream has read and written; 0 if it does not count. */
export function bytesOf ({ bytesRead = 0, bytesWritten = 0 }: Duplex & { bytesRead?: number, bytesWritten?: number }): { read: number, written: number } {
  return { read: bytesRead, written: bytesWritten }
}

/** The part of a WebSocket that a connection uses. A socket of `ws` implements it. */
export interface ServerSocket {
  on (event: 'message', listener: (this: this, data: Buffer, isBinary: boolean) => void): unknown
  on (event: 'close', listener: (this: this, code: number) => void): unknown
  on (event: 'error', listener: (this: this, error: Error) => void): unknown
  on (event: 'ping', listener: (this: this) => void): unknown
  close (code: number, reason?: string): void
  terminate (): void
}
