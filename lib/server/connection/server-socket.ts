/** The part of a WebSocket that a connection uses; one of `ws` has it. */
export interface ServerSocket {
  on (event: 'message', listener: (data: Buffer, isBinary: boolean) => void): unknown
  on (event: 'close', listener: (code: number) => void): unknown
  on (event: 'error', listener: (error: Error) => void): unknown
  on (event: 'ping', listener: () => void): unknown
  close (code: number, reason?: string): void
  terminate (): void
}
