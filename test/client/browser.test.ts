import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Browser } from 'playwright-core'
import t from 'tap'
import type { DatasoleClientOptions, DatasoleError } from '../../lib/client/client.js'
import { CloseCode } from '../../lib/protocol/codes.js'
import { getToken } from '../../plugins/server.js'
import { type Lab, html, launch, open, startServer, visit } from './lab-page.js'

// the functions that are given to `evaluate` run in the page
declare const lab: Lab
declare const start: (options: DatasoleClientOptions) => Promise<void>

let browser: Browser
t.before(async () => { browser = await launch() })
t.teardown(() => browser.close())

for (const useWorker of [true, false, undefined]) {
  t.test(`useWorker: ${useWorker}`, async (t) => {
    const left: Array<number | undefined> = []
    let leave = (): void => {}
    const { ds, page } = await open(t, browser, {
      prepare (ds) {
        ds.addHook('onDisconnect', (_connection, code) => {
          left.push(code)
          leave()
        })
        ds.rpc.register('fail', () => { throw Object.assign(new Error('no'), { code: 7, data: { why: 'so' } }) })
        ds.rpc.register('never', () => new Promise(() => {}))
      }
    })
    await ds.primitives.live.setState('board', { n: 1, list: ['a'], text: 'x'.repeat(5000) })
    await page.evaluate((useWorker) => start({ useWorker }), useWorker)
    t.equal(page.workers().length, useWorker === false ? 0 : 1, 'where the socket is')
    t.strictSame(await page.evaluate(() => lab.states), ['connecting', 'connected'])

    const odd = { text: 'x'.repeat(5000), list: [1, null, 'ü𝄞'], own: JSON.parse('{"__proto__":1}') as unknown }
    t.equal(await page.evaluate(async (json) => JSON.stringify(await lab.client.rpc('echo', JSON.parse(json))), JSON.stringify(odd)), JSON.stringify(odd))
    t.strictSame(await page.evaluate(() => lab.client.rpc('fail').catch(({ name, code, message, data }) => ({ name, code, message, data }))),
      { name: 'RpcError', code: 7, message: 'no', data: { why: 'so' } })
    t.equal(await page.evaluate(() => lab.client.rpc('never', undefined, { timeoutMs: 20 }).catch(({ code }) => code)), -32001)

    const arrived = new Promise((resolve) => { ds.primitives.events.on('chat', ({ data }) => { resolve(data) }) })
    t.equal(await page.evaluate(() => lab.client.emit('chat', { text: 'up' })), true)
    t.strictSame(await arrived, { text: 'up' })
    ds.primitives.fanout.broadcast('chat', { text: 'down' })
    await page.waitForFunction(() => lab.heard.length === 1)
    t.strictSame(await page.evaluate(() => lab.heard), [{ text: 'down' }])

    await ds.primitives.live.update('board', (draft) => { (draft as { n: number }).n = 2 })
    await page.waitForFunction(() => (lab.client.getState('board') as { n: number } | undefined)?.n === 2)
    t.match(await page.evaluate(() => lab.told), [[{ n: 1 }, 1], [{ n: 2 }, 2]])

    // a listener cannot change what others see, wherever it was parsed
    t.strictSame(await page.evaluate(() => {
      const board = lab.client.getState('board') as { list: string[] }
      const [, head] = [board, lab.heard[0]] as [object, object]
      try { board.list.push('spoilt') } catch (error) { return [(error as Error).name, Object.isFrozen(board), Object.isFrozen(head), board.list] }
    }), ['TypeError', true, true, ['a']])

    // the server drops it, and something happens meanwhile
    const cut = page.evaluate(() => lab.client.rpc('never').catch(({ code }) => code))
    await page.evaluate(() => lab.client.rpc('echo')) // so the call is there
    await ds.disconnectUser('127.0.0.1', { code: CloseCode.GOING_AWAY })
    t.equal(await cut, 'OUTCOME_UNKNOWN')
    await ds.primitives.live.update('board', (draft) => { (draft as { n: number }).n = 3 })
    await page.waitForFunction(() => (lab.client.getState('board') as { n: number } | undefined)?.n === 3)
    t.strictSame(await page.evaluate(() => lab.states), ['connecting', 'connected', 'reconnecting', 'connected'])
    t.match(await page.evaluate(() => lab.told), [[{ n: 1 }, 1], [{ n: 2 }, 2], [{ n: 3 }, 3]])

    // what the page changes, in this connection and in the next
    const channel = ds.primitives.live.createSyncChannel({ key: 'notes', direction: 'bidirectional', mode: 'json-patch', initialValue: ['first'] })
    await page.evaluate(() => {
      const notes = lab.client.channel('notes')
      notes.set(['mine'])
      notes.update((draft) => { (draft as string[]).push('more') })
      return notes.saved()
    })
    t.strictSame(await channel.get(), ['mine', 'more'])
    await ds.disconnectUser('127.0.0.1', { code: CloseCode.GOING_AWAY })
    t.strictSame(await page.evaluate(async () => {
      const notes = lab.client.channel('notes')
      notes.update((draft) => { (draft as string[]).push('offline') })
      await notes.saved()
      return notes.get()
    }), ['mine', 'more', 'offline'])
    t.strictSame(await channel.get(), ['mine', 'more', 'offline'])
    left.pop()

    // what merges: counted once, although the connection is cut beneath it
    await page.evaluate(async () => {
      const { client } = lab
      const [likes, prefs] = [client.crdt('likes', 'pn-counter'), client.crdt('prefs', 'lww-map')]
      likes.increment(2)
      prefs.set('__proto__', { color: 'red' })
      client.crdt('title', 'lww-register').set('ü𝄞'.repeat(3000))
      while (likes.isPending || prefs.isPending || client.crdt('title', 'lww-register').isPending) await new Promise((resolve) => { setTimeout(resolve, 5) })
    })
    await ds.disconnectUser('127.0.0.1', { code: CloseCode.GOING_AWAY })
    await page.evaluate(() => { for (let i = 0; i < 100; i++) lab.client.crdt('likes', 'pn-counter').increment() })
    await ds.primitives.crdt.apply('likes', { type: 'pn-counter', op: 'increment', value: 1000 })
    await page.waitForFunction(() => lab.client.crdt('likes', 'pn-counter').value === 1102)
    await page.waitForFunction(() => !lab.client.crdt('likes', 'pn-counter').isPending)
    t.equal(await ds.primitives.crdt.getValue('likes'), 1102)
    t.equal(JSON.stringify(await ds.primitives.crdt.getValue('prefs')), '{"__proto__":{"color":"red"}}')
    t.equal(await page.evaluate(() => JSON.stringify(lab.client.crdt('prefs', 'lww-map').value)), '{"__proto__":{"color":"red"}}')
    t.equal(await ds.primitives.crdt.getValue('title'), 'ü𝄞'.repeat(3000))
    left.pop()

    const gone = new Promise<void>((resolve) => { leave = resolve })
    const ended = Promise.all(page.workers().map((worker) => worker.waitForEvent('close')))
    t.equal(await page.evaluate(() => lab.client.disconnect().then(() => lab.client.getConnectionState())), 'disconnected')
    await Promise.all([gone, ended])
    t.strictSame(left, [1001, 1000])
    t.equal(page.workers().length, 0, 'the worker ends with the connection')
    // and all of it once more
    t.equal(await page.evaluate(async () => {
      await lab.client.connect()
      return await lab.client.rpc('echo', 'again')
    }), 'again')
    t.strictSame(await page.evaluate(() => lab.errors), [])
  })

  t.test(`a network that has gone silent, useWorker: ${useWorker}`, async (t) => {
    const { ds, page, context } = await open(t, browser, { heartbeatMs: 500 })
    await ds.primitives.live.setState('board', 1)
    await page.evaluate((useWorker) => start({ useWorker }), useWorker)
    await page.waitForFunction(() => lab.told.length === 1)
    await context.setOffline(true)
    await page.waitForFunction(() => lab.states.includes('reconnecting'))
    t.match((await page.evaluate(() => lab.causes))[0], /silent for two heartbeats/)
    await ds.primitives.live.setState('board', 2)
    await context.setOffline(false)
    await page.waitForFunction(() => lab.client.getState('board') === 2)
    await page.waitForFunction(() => lab.client.getConnectionState() === 'connected')
  })
}

t.test('browser: where the worker cannot be loaded the page does its work, and says so once', async (t) => {
  const { page } = await open(t, browser)
  await page.evaluate(() => start({ workerUrl: '/not-there.js' }))
  t.equal(await page.evaluate(() => lab.client.rpc('echo', 1)), 1)
  await page.evaluate(async () => {
    await lab.client.disconnect()
    await lab.client.connect()
  })
  t.match(await page.evaluate(() => lab.errors), [{ code: 'WORKER_UNAVAILABLE', message: /useWorker: false/ }])
  t.equal((await page.evaluate(() => lab.errors)).length, 1)
  t.equal(page.workers().length, 0)
})

t.test('browser: where it has to be a worker and cannot, connect() rejects', async (t) => {
  const { page } = await open(t, browser)
  t.match(await page.evaluate(() => start({ useWorker: true, workerUrl: '/not-there.js' }).catch(({ code, message }) => ({ code, message }))),
    { code: 'WORKER_UNAVAILABLE', message: /workerUrl/ })
  t.equal(await page.evaluate(() => lab.client.getConnectionState()), 'disconnected')
})

t.test('browser: a content security policy without workers', async (t) => {
  const { page } = await open(t, browser, { headers: { 'content-security-policy': "worker-src 'none'" } })
  await page.evaluate(() => start({}))
  t.equal(await page.evaluate(() => lab.client.rpc('echo', 1)), 1)
  t.match(await page.evaluate(() => lab.errors), [{ code: 'WORKER_UNAVAILABLE' }])
})

t.test('browser: a page of another origin', async (t) => {
  const { origin } = await startServer(t)
  const other = createServer((_request, response) => { response.writeHead(200, { 'content-type': 'text/html' }).end(html(`${origin}/__ds/datasole.iife.min.js`)) })
  other.listen(0, '127.0.0.1')
  await once(other, 'listening')
  t.teardown(() => {
    other.close()
    other.closeAllConnections()
  })
  const { page } = await visit(t, browser, `http://127.0.0.1:${(other.address() as AddressInfo).port}`)
  await page.evaluate((url) => start({ url }), origin)
  t.equal(await page.evaluate(() => lab.client.rpc('echo', 1)), 1)
  t.equal(page.workers().length, 1)
  t.strictSame(await page.evaluate(() => lab.errors), [])
})

t.test('browser: calls right after connect() wait for it; disconnect() while the worker loads is obeyed', async (t) => {
  const { page } = await open(t, browser)
  t.equal(await page.evaluate(async () => {
    void start({})
    return await lab.client.rpc('echo', 'early')
  }), 'early')
  t.strictSame(await page.evaluate(async () => {
    await lab.client.disconnect()
    const connected = lab.client.connect().catch(({ code }: DatasoleError) => code)
    await lab.client.disconnect()
    return [await connected, lab.client.getConnectionState()]
  }), ['DISCONNECTED', 'disconnected'])
})

for (const useWorker of [true, false]) {
  t.test(`tokens come from the page, useWorker: ${useWorker}`, async (t) => {
    const tokens: Array<string | undefined> = []
    const { ds, page } = await open(t, browser, {
      authHandler: (req) => {
        tokens.push(getToken(req))
        return { authenticated: true, userId: 'ann', expiresAt: Date.now() + 6000 }
      }
    })
    await page.evaluate((useWorker) => {
      let count = 0
      return start({ useWorker, getToken: async () => `t${++count}` })
    }, useWorker)
    t.equal(page.workers().length, useWorker ? 1 : 0)
    while (tokens.length < 3) await new Promise((resolve) => setTimeout(resolve, 5))
    t.strictSame(tokens.slice(0, 3), ['t1', 't2', 't3'], 'asked for while it is connected')
    t.strictSame(await page.evaluate(() => lab.states), ['connecting', 'connected'])
    ds.disconnectUser('ann')
    await page.waitForFunction(() => lab.states.length === 4)
    t.strictSame(await page.evaluate(() => lab.states), ['connecting', 'connected', 'reconnecting', 'connected'])
    ds.disconnectUser('ann') // soon again: a fresh token is no help
    await page.waitForFunction(() => lab.client.getConnectionState() === 'disconnected')
    t.match((await page.evaluate(() => lab.errors)).at(-1), { code: 'AUTH_EXPIRED' })
  })
}
