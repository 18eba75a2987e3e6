import { createComposables } from 'datasole/vue'

export const { plugin, useLive, useRpc, useEvent, useChannel, useCrdt, useConnection } = createComposables()
