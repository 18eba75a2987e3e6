import { once } from 'node:events'
import { type AddressInfo, type Socket, connect, createServer } from 'node:net'
import { setTimeout } from 'node:timers/promises'
import t from 'tap'
import { type Proxy, proxy } from './proxy.js'
import { until } from './until.js'

interface Test { teardown (fn: () => unknown): void }

/** A proxy before a server that repeats what it hears. */
async function echo (t: Test): Promise<{ way: Proxy, heard: string[], open: () => Promise<Client> }> {
  const heard: string[] = []
  const server = createServer((socket) => {
    socket.on('error', () => {}) // it is cut
    socket.on('data', (data) => { heard.push(String(data)) })
    socket.pipe(socket)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  const way = await proxy(t, (server.address() as AddressInfo).port)
  return { way, heard, open: async () => await new Client(connect(way.port, '127.0.0.1')).opened() }
}

class Client {
  got = ''
  readonly closed: Promise<string>

  constructor (readonly socket: Socket) {
    let code = ''
    socket.on('data', (data) => { this.got += String(data) })
    socket.on('error', (error: NodeJS.ErrnoException) => { code = error.code! })
    this.closed = new Promise((resolve) => socket.on('close', () => { resolve(code) }))
  }

  async opened (): Promise<this> {
    await once(this.socket, 'connect')
    return this
  }

  async says (word: string): Promise<void> {
    this.socket.write(word)
    await once(this.socket, 'data')
  }

  /** What it has got 100 ms later, where there should be no event. */
  async saysInVain (word: string): Promise<string> {
    this.socket.write(word)
    await setTimeout(100)
    return this.got
  }
}

t.test('proxy: what is swallowed is lost, for the connections that there are or for new ones too', async (t) => {
  const { way, heard, open } = await echo(t)
  const first = await open()
  await first.says('a')
  t.equal(way.connections, 1)
  way.swallow('down')
  t.equal(await first.saysInVain('b'), 'a')
  await until(() => heard.length > 1) // the other way is open
  t.strictSame(heard, ['a', 'b'])
  const second = await open()
  await second.says('c')
  way.swallow('both', { andNew: true })
  const third = await open()
  t.equal(await third.saysInVain('d'), '')
  t.strictSame(heard, ['a', 'b', 'c'])
  way.heal()
  t.equal(await third.saysInVain('e'), '', 'what lost something stays as it is')
  const fourth = await open()
  await fourth.says('f')
  t.equal(fourth.got, 'f')
})

t.test('proxy: what is held is delivered later', async (t) => {
  const { way, heard, open } = await echo(t)
  const first = await open()
  await first.says('a')
  way.hold()
  t.equal(await first.saysInVain('b'), 'a')
  const second = await open()
  t.equal(await second.saysInVain('c'), '')
  t.strictSame(heard, ['a'])
  const delivered = Promise.all([once(first.socket, 'data'), once(second.socket, 'data')])
  way.release()
  await delivered
  t.strictSame([first.got, second.got], ['ab', 'c'])
})

t.test('proxy: connections are cut, and refused until it heals', async (t) => {
  const { way, open } = await echo(t)
  const first = await open()
  await first.says('a')
  way.cut()
  t.equal(await first.closed, 'ECONNRESET')
  const second = await open()
  await second.says('b')
  way.refuse()
  t.equal(await second.closed, 'ECONNRESET')
  t.equal(await new Client(connect(way.port, '127.0.0.1')).closed, 'ECONNRESET')
  way.heal()
  const third = await open()
  await third.says('c')
  t.equal(way.connections, 1)
})
