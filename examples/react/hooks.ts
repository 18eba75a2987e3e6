import { createHooks } from 'datasole/react'
import type { boardContract } from './board-contract.js'

/** The contract is named here once. Its schemas stay on the server. */
export const { Provider, useChannel, useClient, useConnection, useEvent, useLive, useRpc } = createHooks<typeof boardContract>()
