import { WebSocket } from 'ws'
import type { Page } from 'playwright-core'
import { CloseCode } from '../../lib/protocol/codes.js'
import { DatasoleError } from '../../lib/protocol/errors.js'
import { LiveClient } from '../../lib/client/client.js'
import { liveStore } from '../../lib/client/live-store.js'
import type { InitialState } from '../../lib/client/state-subscriptions.js'
import { type Running, entrances } from '../helpers/entrances.js'
import { type ViteApp, serveApps } from './vite-app.js'

/** The parts of the server that a test of bindings asserts on. */
export interface AppServer extends Running {
  connections: number
  /** The keys that were subscribed to, in order. */
  subscribed: string[]
  aborted: string[]
}

interface Test { teardown (end: () => unknown): void }

const start = entrances.find(([name]) => name === 'standalone')![1]

/** The module that renders on a server. */
interface Rendering { render (initial: object): string | Promise<string> }

/**
 * A server with what the apps of the tests show and call: the board with 1,000 records, the secret, notes.
 * @param initial what is rendered for `?server`
 */
export async function startAppServer (t: Test, app: ViteApp, initial?: () => Promise<object>): Promise<AppServer> {
  const seen = { connections: 0, subscribed: [] as string[], aborted: [] as string[] }
  const running = await start(t, {
    rateLimit: false,
    async prepare (ds, http) {
      serveApps(http, [app], async (_app, path, html) => {
        if (path !== '?server') return undefined
        const values = await initial!()
        const { render } = await import(app.server!) as Rendering
        return html.replace('<div id="root"></div>', `<div id="root">${await render(values)}</div><script>window.initial = ${JSON.stringify(values)}</script>`)
      })
      ds.addHook('onConnect', () => { seen.connections++ })
      ds.addHook('preSubscribe', (_ctx, { key }) => {
        seen.subscribed.push(key)
        if (key === 'secret') throw new DatasoleError('FORBIDDEN', 'no')
      })
      ds.rpc.register('answer', (params) => params)
      ds.rpc.register('wait', async (params, { signal }) => await new Promise((_resolve, reject) => {
        signal.addEventListener('abort', () => {
          seen.aborted.push(params as string)
          reject(new Error('aborted'))
        })
      }))
      await ds.primitives.live.setState('board', { title: 'a', records: Array.from({ length: 1000 }, (_, id) => ({ id, n: 0 })) })
      await ds.primitives.live.setState('other', { title: 'o', records: [] })
      ds.primitives.live.createSyncChannel({ key: 'notes', direction: 'bidirectional', mode: 'json-patch', initialValue: ['first'] })
    }
  })
  return Object.assign(seen, running)
}

export interface Board { title: string, records: Array<{ id: number, n: number }> }

export async function changeBoard ({ ds }: Running, change: (board: Board) => void): Promise<void> {
  await ds.primitives.live.update('board', (draft) => { change(draft as Board) })
}

export async function cut ({ ds }: Running): Promise<void> { await ds.disconnectUser('127.0.0.1', { code: CloseCode.GOING_AWAY }) }

/** Waits until an element shows a text. */
export async function shows (page: Page, id: string, text: string): Promise<void> {
  await page.waitForFunction(`document.getElementById(${JSON.stringify(id)})?.textContent.trim() === ${JSON.stringify(text)}`, undefined, { timeout: 30_000 }).catch(async (cause: unknown) => {
    throw new Error(`#${id} does not show "${text}", but "${await page.textContent(`#${id}`, { timeout: 100 }).catch(() => 'nothing')}"`, { cause })
  })
}

/** The value and position of a key, as a server that renders would load it. */
export async function load (t: Test, url: string, key: string): Promise<Record<string, InitialState>> {
  const client = new LiveClient({ url, webSocket: WebSocket as never })
  t.teardown(() => client.disconnect())
  await client.connect()
  const store = liveStore(client, key)
  await store.ready()
  const { value, epoch, version } = store.getSnapshot()
  return { [key]: { value, epoch: epoch!, version: version! } }
}
