import { DatasoleClient, type DatasoleClientOptions, DatasoleError, RpcError } from '../../lib/client/client.js'
import { until } from '../helpers/until.js'
import { liveStore } from '../../lib/client/live-store.js'

/**
 * The client's work in one program, for platforms on which the test runner does not run. It prints what it found,
 * as JSON. Arguments: the server's URL, and the package that has a WebSocket if the platform has none.
 */
const [url, webSocketPackage] = process.argv.slice(2) as [string, string | undefined]

interface Contract {
  rpc: { echo: { params: unknown, result: unknown }, fail: { result: never }, never: { result: never }, drop: { result: null }, set: { params: unknown, result: null } }
  events: { chat: { text: string } }
  state: { board: { n: number, list: string[], text?: string }, notes: string[] }
  crdts: { likes: 'pn-counter' }
}

const webSocket = webSocketPackage === undefined ? undefined : (await import(webSocketPackage) as { WebSocket: DatasoleClientOptions['webSocket'] }).WebSocket
const errors: unknown[] = []
let tokens = 0
const client = new DatasoleClient<Contract>({ url, webSocket, reconnectInterval: 10, getToken: () => `token ${++tokens}`, onError: (error) => { errors.push(error instanceof DatasoleError ? error.code : String(error)) } })

const found: Record<string, unknown> = {}
const states: string[] = []
client.onConnectionState((state) => { states.push(state) })
await client.connect()

const large = { text: 'ü𝄞'.repeat(20_000), own: JSON.parse('{"__proto__":1}') as unknown }
found.large = JSON.stringify(await client.rpc('echo', large)) === JSON.stringify(large)
found.failure = await client.rpc('fail').catch((error: RpcError) => [error instanceof RpcError, error.code, error.data])
found.timeout = await client.rpc('never', undefined, { timeoutMs: 20 }).catch((error: RpcError) => error.code)
found.aborted = await client.rpc('never', undefined, { signal: AbortSignal.abort(new Error('mine')) }).catch((error: Error) => error.message)
found.invalid = await client.rpc('echo', { at: [1n] }).catch((error: TypeError & { code: string }) => error.code)

const heard: string[] = []
client.on('chat', ({ data }) => { heard.push(data.text) })
for (let i = 0; i < 100; i++) client.emit('chat', { text: String(i) })
await until(() => heard.length === 100)
found.events = heard.join() === Array.from({ length: 100 }, (_, i) => i).join()

const told: unknown[] = []
const store = liveStore(client, 'board')
store.subscribe(() => { told.push([store.getSnapshot().value?.n, store.getSnapshot().status]) })
await until(() => told.length === 1)
await client.rpc('set', { n: 2, list: ['a'], text: 'x'.repeat(50_000) })
await until(() => store.getSnapshot().value?.n === 2)
found.frozen = Object.isFrozen(store.getSnapshot().value?.list)

const notes = client.channel('notes')
notes.update(() => ['first'])
const likes = client.crdt('likes', 'pn-counter')
likes.increment(2)
await notes.saved()
await until(() => !likes.isPending)

const call = client.rpc('drop')
found.dropped = await call.catch((error: DatasoleError) => error.code)
notes.update((draft) => { draft!.push('offline') })
likes.increment()
await until(() => client.getConnectionState() === 'connected' && store.getSnapshot().status === 'live' && !likes.isPending)
await notes.saved()
await client.rpc('set', { n: 3, list: ['a'] })
await until(() => store.getSnapshot().value?.n === 3)
found.told = told
found.notes = notes.get()
found.likes = likes.value
found.tokens = tokens
await client.disconnect()
found.states = states
found.errors = errors
console.log(JSON.stringify(found))
process.exit(0)
