import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { WebSocket } from 'ws'
import { DatasoleClient } from '../../lib/client/client.js'
import { connect } from '../helpers/wire.js'

/** `ended` is its exit code and signal. */
interface Story { child: ChildProcess, ended: Promise<unknown[]>, line: (pattern: RegExp) => Promise<RegExpExecArray>, output: () => string }

/** Runs an example as its reader would. */
function run (t: Test, name: string, args: string[], env: Record<string, string>): Story {
  const script = fileURLToPath(new URL(`../../examples/${name}.js`, import.meta.url))
  const child = spawn(process.execPath, [script, ...args], { env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] })
  t.teardown(() => { child.kill('SIGKILL') })
  const ended = once(child, 'close')
  let output = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text
      child.emit('printed')
    })
  }
  const line = (pattern: RegExp): Promise<RegExpExecArray> => new Promise((resolve, reject) => {
    const look = (): void => {
      const found = pattern.exec(output)
      if (found !== null) resolve(found)
    }
    child.on('printed', look)
    child.on('close', (code) => { reject(new Error(`${name} ended with ${code} before it said ${pattern}: ${output}`)) })
    look()
  })
  return { child, ended, line, output: () => output }
}

for (const server of ['app', 'fastify', 'plain-http']) {
  t.test(`the client talks to ${server}`, async (t) => {
    const [, url] = await run(t, server, [], { PORT: '0' }).line(/(?:Open|Listening at) (http\S+)/)
    const client = run(t, 'client', ['Ada', 'attic', 'is anybody here?'], { URL: url! })
    t.same(await client.ended, [0, null], 'it ends by itself')
    t.match(client.output(), /in attic: Ada\n/)
    t.match(client.output(), /Ada: is anybody here\?\n/)
  })
}

t.test('stories: the routes of fastify read the state and speak in the rooms', async (t) => {
  const [, url] = await run(t, 'fastify', [], { PORT: '0' }).line(/Listening at (http\S+)/)
  // a blank message is not passed on, so nothing ends the client
  const client = run(t, 'client', ['Ada', 'attic', ' '], { URL: url! })
  await client.line(/in attic: Ada\n/)
  const people = await (await fetch(`${url}/people`)).json() as object
  t.same(Object.values(people), [{ name: 'Ada', room: 'attic' }])
  const { status } = await fetch(`${url}/rooms/attic`, { method: 'POST', headers: { 'content-type': 'text/plain' }, body: 'dinner' })
  t.equal(status, 204)
  await client.line(/HTTP: dinner\n/)
})

t.test('stories: plain http keeps its own routes', async (t) => {
  const [, url] = await run(t, 'plain-http', [], { PORT: '0' }).line(/Listening at (http\S+)/)
  t.equal(await (await fetch(`${url}/anything`)).text(), '0 connected\n')
})

t.test('stories: a form saves itself, and notes of several stay on the board', async (t) => {
  const server = run(t, 'board', [], { PORT: '0' })
  const [, url] = await server.line(/Listening at (http\S+)/)
  const first = run(t, 'board-client', ['Ada', 'milk'], { URL: url! })
  t.same(await first.ended, [0, null])
  await server.line(/saved the form of \S+: \{"name":"Ada","comment":"typed before there was a connection"\}/)
  const second = run(t, 'board-client', ['Bob', 'bread'], { URL: url! })
  await second.ended
  t.match(second.output(), /Ada: milk\nBob: bread\n/)
  const third = run(t, 'board-client', ['Eve', 'x'.repeat(281)], { URL: url! })
  await third.ended
  t.match(third.output(), /refused: .*not accepted\nAda: milk\nBob: bread\n/)
})

for (const [signal, servers] of [['SIGTERM', ['app', 'fastify', 'plain-http', 'board', 'editor']], ['SIGINT', ['fastify', 'plain-http']]] as Array<[NodeJS.Signals, string[]]>) {
  for (const name of servers) {
    t.test(`${signal} ends ${name} in good order`, async (t) => {
      const server = run(t, name, [], { PORT: '0' })
      const [, url] = await server.line(/(?:Open|Listening at) (http\S+)/)
      const wire = await connect(`${url!.replace('http', 'ws')}/__ds`)
      await wire.ping()
      server.child.kill(signal)
      t.match(await wire.closed, { code: 1001 })
      t.same(await server.ended, [0, null])
    })
  }
}

t.test('stories: SIGTERM loses nothing of a form that waits to be saved', async (t) => {
  const server = run(t, 'board', [], { PORT: '0' })
  const [, url] = await server.line(/Listening at (http\S+)/)
  const client = new DatasoleClient({ url, webSocket: WebSocket as never, reconnect: false })
  await client.connect()
  const form = client.channel('form')
  form.set({ name: 'Ada' })
  await form.saved()
  server.child.kill('SIGTERM')
  t.same(await server.ended, [0, null])
  t.match(server.output(), /saved the form of \S+: \{"name":"Ada"\}/)
})
