import { WebSocket } from 'ws'
import { LiveClient } from '../../../lib/client/client.js'
import type { InspectorContract } from '../../../lib/inspector/views.js'
import { inTime, until } from '../../helpers/until.js'

interface Test { teardown (fn: () => unknown): void }

type Rpc = InspectorContract['rpc']

/** Who looks at an inspector, as its page does. */
export interface Viewer {
  client: LiveClient
  call<M extends keyof Rpc> (method: M, params: Rpc[M]['params']): Promise<Rpc[M]['result']>
  /** The first value of a view that satisfies a condition. */
  see<T> (view: string, isWanted: (value: T) => boolean): Promise<T>
}

/** @param url of the page, without a slash at its end */
export async function viewer (t: Test, url: string, headers: Record<string, string> = {}): Promise<Viewer> {
  class Socket extends WebSocket {
    constructor (address: string, protocols: string[]) { super(address, protocols, { headers }) }
  }
  const client = new LiveClient({ url, path: '/live', webSocket: Socket as never, reconnectInterval: 50 })
  t.teardown(() => client.disconnect())
  await inTime(client.connect(), () => 'the connection of a viewer')
  return {
    client,
    call: async (method, params) => await client.rpc(method, params) as never,
    async see<T> (view: string, isWanted: (value: T) => boolean) {
      let last: T | undefined
      let found: T | undefined
      const end = client.subscribeState(view, (value) => {
        last = value as T | undefined
        if (found === undefined && last !== undefined && isWanted(last)) found = last
      })
      try {
        return (await until(() => found))!
      } catch (error) {
        throw new Error(`${(error as Error).message}; ${view} is ${JSON.stringify(last)}`)
      } finally {
        end()
      }
    }
  }
}
