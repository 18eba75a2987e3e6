/** A connection, as far as a tap has to know it. */
export interface TappedConnection { readonly id: string }

/** Is shown every frame of a server, while somebody looks. It must neither throw nor wait, nor change the bytes. */
export interface FrameTap {
  /** @param frame as decoded: header and payload, inflated */
  received (connection: TappedConnection, frame: Uint8Array, wireBytes: number): void
  /** @param message as it goes onto the wire, WebSocket header included; the same buffer for all receivers of one */
  sent (connection: TappedConnection, message: Uint8Array): void
}
