import type { DatasoleError } from '../protocol/errors.js'
import type { Unsubscribe } from '../protocol/unsubscribe.js'
import type { ConnectionState } from '../client/link.js'
import type { LiveClient } from '../client/live-client.js'
import { storeOf } from './held-store.js'

/** The state of a client's connection at one moment. */
export interface ConnectionSnapshot {
  /** The same as `client.getConnectionState()`. */
  readonly state: ConnectionState
  /** The error if the connection was lost or failed. */
  readonly error: DatasoleError | undefined
}

/** The connection of a client as a store. */
export interface ConnectionStore {
  getSnapshot (): ConnectionSnapshot
  subscribe (listener: () => void): Unsubscribe
}

/** The snapshot of a client that has never connected. */
export const unconnected: ConnectionSnapshot = { state: 'disconnected', error: undefined }

/** @returns the same store for the same client */
export function connectionStore (client: Pick<LiveClient, 'getConnectionState' | 'onConnectionState'>): ConnectionStore {
  return storeOf(client, 'connection', () => {
    let snapshot = unconnected
    return {
      getSnapshot () {
        const state = client.getConnectionState()
        // the state changed while there was no listener
        if (state !== snapshot.state) snapshot = { state, error: undefined }
        return snapshot
      },
      subscribe: (listener) => client.onConnectionState((state, error) => {
        if (state !== snapshot.state || error !== snapshot.error) snapshot = { state, error }
        listener()
      })
    }
  })
}
