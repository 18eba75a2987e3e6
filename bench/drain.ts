import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { WebSocket } from 'ws'
import { LiveClient } from '../lib/client/client.js'

const CLIENTS = 5000
/** Calls per second, of all clients together. Each takes 20 ms. */
const CALLS = 500

/** `pm2 reload` of two processes in cluster mode under load. */
export interface Drain { drainMs: number, elapsed: number, /** Most connections lost in 100 ms. */ peak: number, /** Most clients without a connection at a time. */ away: number, calls: number, failed: number }

/** Reloads two processes under 5,000 clients, with and without `drainMs`. */
export async function drain (): Promise<Drain[]> {
  const program = resolve('bench/node_modules/pm2/bin/pm2')
  if (!existsSync(program)) throw new Error('pm2 is not installed: npm install --prefix bench')
  const figures: Drain[] = []
  for (const drainMs of [0, 10_000]) figures.push(await reload(program, drainMs))
  return figures
}

async function reload (program: string, drainMs: number): Promise<Drain> {
  const home = await mkdtemp(join(tmpdir(), 'datasole-pm2-'))
  const port = await freePort()
  const pm2 = async (...args: string[]): Promise<void> => { await promisify(execFile)(process.execPath, [program, ...args], { env: { ...process.env, PM2_HOME: home, PORT: String(port), DRAIN_MS: String(drainMs) } }) }
  const losses: number[] = []
  let away = 0
  const clients = Array.from({ length: CLIENTS }, () => new LiveClient({ url: `http://127.0.0.1:${port}`, webSocket: WebSocket as never, onError () {} }))
  try {
    await pm2('start', fileURLToPath(new URL('drain-server.js', import.meta.url)), '-i', '2', '--wait-ready', '--kill-timeout', '30000', '--name', 'drain')
    for (let i = 0; i < CLIENTS; i += 100) await Promise.all(clients.slice(i, i + 100).map((client) => client.connect()))
    let isAway = 0
    for (const client of clients) {
      client.onConnectionState((state) => {
        if (state === 'connected') isAway--
        if (state !== 'reconnecting') return
        losses.push(performance.now())
        away = Math.max(away, ++isAway)
      })
    }
    let calls = 0
    let failed = 0
    const caller = setInterval(() => {
      for (let i = 0; i < CALLS / 50; i++) {
        calls++
        clients[Math.floor(Math.random() * CLIENTS)]!.rpc('echo', 1, { timeoutMs: 30_000 }).catch(() => { failed++ })
      }
    }, 20)
    const began = performance.now()
    await pm2('reload', 'drain')
    while (clients.some((client) => client.getConnectionState() !== 'connected')) await new Promise((resolve) => setTimeout(resolve, 20))
    const elapsed = performance.now() - began
    clearInterval(caller)
    await new Promise((resolve) => setTimeout(resolve, 1000))
    return { drainMs, elapsed, peak: mostIn(100, losses), away, calls, failed }
  } finally {
    for (const client of clients) void client.disconnect()
    await pm2('kill')
    await rm(home, { recursive: true, force: true })
  }
}

function mostIn (ms: number, times: number[]): number {
  const slots = new Map<number, number>()
  for (const time of times) slots.set(Math.floor(time / ms), (slots.get(Math.floor(time / ms)) ?? 0) + 1)
  return Math.max(0, ...slots.values())
}

/** For several processes, none of which can choose it. */
async function freePort (): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  return port
}
