import { spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { Opcode } from '../../lib/protocol/opcodes.js'
import { DatasoleServer, RedisBackend } from '../../plugins/server.js'
import { Mirror } from '../helpers/mirror.js'
import { type Wire, connect } from '../helpers/wire.js'
import { until } from '../helpers/until.js'

const { EVENT_C2S, EVENT_S2C } = Opcode

t.test('cluster: two processes on one port are one server', { timeout: 180_000 }, async (t) => {
  const script = fileURLToPath(new URL('../../examples/cluster.js', import.meta.url))
  const prefix = `${randomUUID()}:`
  const primary = spawn(process.execPath, [script], { env: { ...process.env, REDIS_URL: process.env.REDIS_URL, PORT: '0', PREFIX: prefix }, stdio: ['ignore', 'pipe', 'inherit'] })
  t.teardown(async () => {
    if (primary.exitCode !== null) return
    const ended = once(primary, 'exit')
    primary.kill()
    await ended
  })
  const listening: Array<{ pid: number, port: string }> = []
  createInterface(primary.stdout).on('line', (line) => {
    const [, pid, port] = /Process (\d+), listening at http:\/\/localhost:(\d+)/.exec(line) ?? []
    if (port !== undefined) listening.push({ pid: Number(pid), port })
  })
  const started = async (count: number): Promise<void> => { await until(() => listening.length >= count, 60_000) }
  await started(2)
  const { port } = listening[0]!
  t.equal(listening[1]!.port, port)

  const wires: Wire[] = []
  const mirrors: Mirror[] = []
  const join = async (name: string): Promise<void> => {
    const wire = await connect(`ws://127.0.0.1:${port}/__ds`)
    t.teardown(() => { wire.socket.terminate() })
    const mirror = new Mirror()
    mirror.use(wire)
    mirror.subscribe('people')
    t.strictSame((await wire.call('join', { name, room: 'attic' })).result, { name, room: 'attic' })
    wires.push(wire)
    mirrors.push(mirror)
  }
  for (const name of ['Ada', 'Bob', 'Cyd', 'Dan']) await join(name)
  const names = (mirror: Mirror): string[] => Object.values((mirror.value('people') ?? {}) as Record<string, { name: string }>).map(({ name }) => name).sort()
  await Promise.all(mirrors.map((mirror) => mirror.until(() => names(mirror).length === 4)))
  t.strictSame(names(mirrors[3]!), ['Ada', 'Bob', 'Cyd', 'Dan'], 'everyone sees everyone')

  const counts = new Map<string, number>()
  while (counts.size < 2) {
    const [, pid, count] = /process (\d+): (\d+) connected/.exec(await (await fetch(`http://127.0.0.1:${port}/`, { headers: { connection: 'close' } })).text())!
    counts.set(pid!, Number(count))
  }
  t.ok([...counts.values()].every((count) => count > 0), 'both processes have connections')
  t.equal([...counts.values()].reduce((a, b) => a + b), 4)

  for (const [i, wire] of wires.entries()) {
    wire.send(EVENT_C2S, 0, { event: 'say', data: { text: `I am ${i}` } })
    for (const each of wires) t.match(await each.nextOf(EVENT_S2C), { payload: { event: 'message', data: { text: `I am ${i}` } } })
  }

  process.kill(listening[0]!.pid, 'SIGKILL')
  await started(3)
  const open = (): Wire[] => wires.filter(({ socket }) => socket.readyState === socket.OPEN)
  await until(() => open().length === 4 - counts.get(String(listening[0]!.pid))!)
  const left = open()
  t.ok(left.length > 0 && left.length < 4, 'those of the other process stay')
  const lost = ['Ada', 'Bob', 'Cyd', 'Dan'].filter((_name, i) => !left.includes(wires[i]!))
  await join('Eve')
  wires.at(-1)!.send(EVENT_C2S, 0, { event: 'say', data: { text: 'back' } })
  for (const wire of [...left, wires.at(-1)!]) t.match(await wire.nextOf(EVENT_S2C), { payload: { data: { name: 'Eve', text: 'back' } } })

  // a reload: the hooks of both processes have run, and what they wrote is in the store
  const ended = once(primary, 'exit')
  primary.kill('SIGTERM')
  t.strictSame(await ended, [0, null])
  for (const wire of wires) t.ok([1001, 1006].includes((await wire.closed).code))
  const next = new DatasoleServer({ stateBackend: new RedisBackend({ url: process.env.REDIS_URL, keyPrefix: prefix }) })
  t.teardown(() => next.close())
  await next.init()
  await next.primitives.live.update('people', (people) => people) // starts from the newest
  const people = await next.primitives.live.getState('people') as Record<string, { name: string }>
  t.strictSame(Object.values(people).map(({ name }) => name).sort(), lost, 'only those of the process that was killed are still there')
})
