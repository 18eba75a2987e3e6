import { createHooks } from 'datasole/react'
import type { boardContract } from './board-contract.js'

/** The hooks of the contract. Only its type is imported, so its schemas stay on the server. */
export const { Provider, useChannel, useClient, useConnection, useEvent, useLive, useRpc } = createHooks<typeof boardContract>()
