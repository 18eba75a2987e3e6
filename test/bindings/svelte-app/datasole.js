import { createDatasole } from 'datasole/svelte'

export const { live, rpc, event, channel, crdt, connection } = createDatasole({
  options: { reconnectInterval: 10, onError: (error) => { globalThis.lab.errors.push(error.code) } },
  initial: globalThis.initial
})
