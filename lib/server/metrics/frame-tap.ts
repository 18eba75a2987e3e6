/** The part of a connection that a tap uses. */
export interface TappedConnection { readonly id: string }

/** Observes every frame of a server. It must not throw, wait or change the bytes. */
export interface FrameTap {
  /** @param frame header and payload, inflated */
  received (connection: TappedConnection, frame: Uint8Array, wireBytes: number): void
  /** @param message the bytes on the wire, with the WebSocket header; all receivers of a message share the buffer */
  sent (connection: TappedConnection, message: Uint8Array): void
}
