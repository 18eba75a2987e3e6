import { spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { setTimeout } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { Opcode } from '../../lib/protocol/opcodes.js'
import { Mirror } from '../helpers/mirror.js'
import { type Wire, connect } from '../helpers/wire.js'

const { EVENT_C2S, EVENT_S2C } = Opcode

t.test('two processes on one port are one server', { timeout: 60_000 }, async (t) => {
  const script = fileURLToPath(new URL('../../examples/cluster.js', import.meta.url))
  const primary = spawn(process.execPath, [script], { env: { ...process.env, REDIS_URL: process.env.REDIS_URL, PORT: '0', PREFIX: `${randomUUID()}:` }, stdio: ['ignore', 'pipe', 'inherit'] })
  t.teardown(async () => {
    const ended = once(primary, 'exit')
    primary.kill()
    await ended
  })
  const listening: Array<{ pid: number, port: string }> = []
  createInterface(primary.stdout).on('line', (line) => {
    const [, pid, port] = /Process (\d+), listening at http:\/\/localhost:(\d+)/.exec(line) ?? []
    if (port !== undefined) listening.push({ pid: Number(pid), port })
  })
  const started = async (count: number): Promise<void> => { while (listening.length < count) await setTimeout(20) }
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
  const left = wires.filter(({ socket }) => socket.readyState === socket.OPEN)
  t.ok(left.length > 0 && left.length < 4, 'those of the other process stay')
  await join('Eve')
  wires.at(-1)!.send(EVENT_C2S, 0, { event: 'say', data: { text: 'back' } })
  for (const wire of [...left, wires.at(-1)!]) t.match(await wire.nextOf(EVENT_S2C), { payload: { data: { name: 'Eve', text: 'back' } } })
})
