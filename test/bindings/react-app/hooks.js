import { createHooks } from 'datasole/react'

export const { Provider, useLive, useSuspenseLive, useRpc, useEvent, useChannel, useCrdt, useConnection, useClient } = createHooks()
