import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { gzipSync } from 'node:zlib'
import jsonPatch from 'fast-json-patch'
import { type Browser, type Page, chromium } from 'playwright-core'
import { Server as SocketIo } from 'socket.io'
import { WebSocketServer } from 'ws'
import { DatasoleServer } from '../plugins/server.js'
import { chromium as chromiumNeed } from '../test/run/chromium.js'
import { quantile } from './compare.js'

const REPEATS = 5
/** About 118 KB. */
const RECORDS = 1500

interface Rec { id: number, name: string, score: number, seen: number }

const makeState = (): { records: Rec[] } => ({ records: Array.from({ length: RECORDS }, (_, id) => ({ id, name: `record number ${id} of this state`, score: 0, seen: 0 })) })

/** A page's client: µs of the main thread for each patch of a 118 KB state, and ms to the first state of a cold page. */
export interface PageFigures { client: string, gzip: number, paced: number, burst: number, firstState: number }

const told = `const received = () => { globalThis.firstAt ??= performance.now() }
let state
globalThis.scoreOf = (index) => state.records[index].score`
const patching = '<script src="/fast-json-patch.js"></script>'
const pages: Record<string, string> = {
  datasole: `<script src="/__ds/datasole.iife.min.js"></script><script>${told}
const client = new Datasole.DatasoleClient()
client.subscribeState('state', (value) => { state = value; received() })
client.connect()</script>`,
  'Socket.IO': `<script src="/socket.io/socket.io.min.js"></script>${patching}<script>${told}
const socket = io({ transports: ['websocket'] })
socket.on('state', (value) => { state = value; received() })
socket.on('patch', (patch) => { jsonpatch.applyPatch(state, patch); received() })</script>`,
  'WebSocket, JSON.parse, fast-json-patch': `${patching}<script>${told}
const socket = new WebSocket('ws://' + location.host + '/bare')
socket.onmessage = ({ data }) => {
  const message = JSON.parse(data)
  if (Array.isArray(message)) jsonpatch.applyPatch(state, message)
  else state = message
  received()
}</script>`
}

/** Measures the three clients in one browser, interleaved. */
export async function page (): Promise<PageFigures[]> {
  const files: Record<string, Buffer> = {
    '/fast-json-patch.js': await readFile('node_modules/fast-json-patch/dist/fast-json-patch.min.js'),
    '/socket.io.js': await readFile('node_modules/socket.io/client-dist/socket.io.min.js'),
    '/datasole.js': await readFile('dist/client/datasole.iife.min.js')
  }
  const http = createServer((request, response) => {
    const name = Object.keys(pages)[Number(request.url!.slice(1))]
    if (name !== undefined) response.writeHead(200, { 'content-type': 'text/html' }).end(`<!doctype html><title>bench</title><link rel="icon" href="data:,">${pages[name]!}`)
    else if (files[request.url!] !== undefined) response.writeHead(200, { 'content-type': 'text/javascript' }).end(files[request.url!])
  })
  const ds = new DatasoleServer({ rateLimit: false })
  ds.transport.attach(http)
  await ds.init()
  const io = new SocketIo(http)
  const bare = new WebSocketServer({ noServer: true })
  http.on('upgrade', (request, socket, head) => { if (request.url === '/bare') bare.handleUpgrade(request, socket, head, (client) => { client.send(JSON.stringify(state)) }) })
  const state = makeState()
  await ds.primitives.live.setState('state', state)
  io.on('connection', (socket) => { socket.emit('state', state) })
  http.listen(0, '127.0.0.1')
  await once(http, 'listening')
  const origin = `http://127.0.0.1:${(http.address() as AddressInfo).port}`

  let at = 0
  const change = (): void => {
    const index = at++ % state.records.length
    const patch: jsonPatch.Operation[] = [{ op: 'replace', path: `/records/${index}/score`, value: at }, { op: 'replace', path: `/records/${index}/seen`, value: at + 1 }]
    jsonPatch.applyPatch(state, patch)
    io.emit('patch', patch)
    const text = JSON.stringify(patch)
    for (const client of bare.clients) client.send(text)
    void ds.primitives.live.update('state', (draft) => { Object.assign((draft as typeof state).records[index]!, { score: at, seen: at + 1 }) })
  }

  const [executablePath] = await chromiumNeed.candidates()
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM_PATH ?? executablePath, chromiumSandbox: false, args: ['--disable-gpu', '--disable-background-networking'] })
  try {
    const samples = Object.keys(pages).map(() => ({ paced: [] as number[], burst: [] as number[], firstState: [] as number[] }))
    for (let round = 0; round < REPEATS; round++) {
      for (const [index, sample] of samples.entries()) {
        const { measure, firstAt, close } = await open(browser, `${origin}/${index}`, (index) => state.records[index]!.score)
        sample.firstState.push(firstAt)
        sample.paced.push(await measure(180, async () => { for (let i = 0; i < 180; i++) { change(); await new Promise((resolve) => setTimeout(resolve, 16)) } }))
        sample.burst.push(await measure(5000, async () => { for (let i = 0; i < 50; i++) { for (let j = 0; j < 100; j++) change(); await new Promise((resolve) => setTimeout(resolve, 20)) } }))
        await close()
      }
    }
    const sizes = [files['/datasole.js']!, Buffer.concat([files['/socket.io.js']!, files['/fast-json-patch.js']!]), files['/fast-json-patch.js']!]
    return Object.keys(pages).map((client, i) => ({
      client,
      gzip: gzipSync(sizes[i]!, { level: 9 }).length,
      paced: quantile(samples[i]!.paced, 0.5),
      burst: quantile(samples[i]!.burst, 0.5),
      firstState: quantile(samples[i]!.firstState, 0.5)
    }))
  } finally {
    await browser.close()
    await ds.close()
    await io.close()
    bare.close()
    http.closeAllConnections()
    http.close()
  }
}

/** @param scoreOf of a record here, which the page's has to come to */
async function open (browser: Browser, url: string, scoreOf: (index: number) => number): Promise<{ firstAt: number, measure: (patches: number, run: () => Promise<void>) => Promise<number>, close: () => Promise<void> }> {
  const context = await browser.newContext()
  const page = await context.newPage()
  const session = await context.newCDPSession(page)
  await session.send('Performance.enable')
  await page.goto(url)
  await page.waitForFunction('globalThis.firstAt !== undefined')
  const firstAt = await page.evaluate('globalThis.firstAt') as number
  /** s that the page's thread has worked */
  const worked = async (): Promise<number> => (await session.send('Performance.getMetrics')).metrics.find(({ name }) => name === 'TaskDuration')!.value
  return {
    firstAt,
    async measure (patches, run) {
      const before = await worked()
      await run()
      while (!await isUpToDate(page, scoreOf)) await new Promise((resolve) => setTimeout(resolve, 20))
      return (await worked() - before) / patches * 1e6
    },
    close: () => context.close()
  }
}

/** The changes go round the records, so that the last one is where the score is highest. */
async function isUpToDate (page: Page, scoreOf: (index: number) => number): Promise<boolean> {
  const scores = Array.from({ length: RECORDS }, (_, index) => scoreOf(index))
  const last = scores.indexOf(Math.max(...scores))
  return await page.evaluate(`scoreOf(${last})`) === scores[last]
}
