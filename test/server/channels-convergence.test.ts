import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { WebSocket } from 'ws'
import { DatasoleClient } from '../../lib/client/client.js'
import { Opcode } from '../../lib/protocol/opcodes.js'
import type { FlushOptions } from '../../lib/server/channels/flush-strategy.js'
import type { DatasoleServer } from '../../plugins/server.js'
import { type Node, node } from '../helpers/nodes.js'
import { randomOf, seed } from '../helpers/random.js'
import { stores } from '../helpers/stores.js'
import { until } from '../helpers/until.js'

t.comment(`seed ${seed} (SEED=${seed} repeats this run)`)

/** Every change is named, so that a lost or doubled one shows. */
interface Board { count: number, log: string[], by: Record<string, string> }
interface AppContract { state: { board: Board, sheet: Record<string, number> } }

const FLUSHES: FlushOptions[] = [{ flushStrategy: 'immediate' }, { flushStrategy: 'batched', batchIntervalMs: 7, maxBatchSize: 5 }, { flushStrategy: 'debounced', debounceMs: 3 }]

/** A socket whose network repeats and loses what it carries, and breaks. */
function shakySocket (random: (below: number) => number, urls: () => string[], isCalm: () => boolean): typeof WebSocket {
  return class extends WebSocket {
    constructor (_url: string, protocols: string[]) {
      const list = urls()
      super(list[random(list.length)]!, protocols)
    }

    override send (data: never): void {
      const isPush = (data as Uint8Array)[0] === Opcode.STATE_PUSH
      if (!isPush || isCalm() || this.readyState !== WebSocket.OPEN) return super.send(data)
      const fate = random(10)
      if (fate === 0) return this.terminate() // lost on the way there
      super.send(data)
      if (fate === 1) super.send(data)
      // its answer is lost: by the time that it comes nobody is there
      else if (fate < 4) setImmediate(() => { setTimeout(() => { this.terminate() }, random(4)) })
    }
  } as typeof WebSocket
}

for (const [name, open] of Object.entries(stores)) {
  t.test(`no push is lost or doubled, and everyone agrees: ${name}`, { timeout: 120_000 }, async (t) => {
    for (let round = 0; round < (name === 'memory' ? 3 : 1); round++) {
      const random = randomOf(seed + round)
      const backend = open()
      const flush = FLUSHES[random(FLUSHES.length)]!
      const nodes: Node[] = []
      const start = async (): Promise<Node> => await node(t, {
        stateBackend: backend(),
        rateLimit: false,
        prepare: (ds) => {
          const { live } = (ds as DatasoleServer<AppContract>).primitives
          live.createSyncChannel({ key: 'board', direction: 'bidirectional', mode: 'json-patch', flush, initialValue: { count: 0, log: [], by: {} } })
          live.createSyncChannel({ key: 'sheet', direction: 'bidirectional', mode: 'json-patch', flush, initialValue: {} })
        }
      })
      nodes.push(await start(), await start())
      let isCalm = false
      const errors: unknown[] = []
      const made: string[] = []
      const Socket = shakySocket(random, () => nodes.map(({ url }) => url), () => isCalm)
      const clients = await Promise.all(Array.from({ length: 2 + random(4) }, async (_, i) => {
        const client = new DatasoleClient<AppContract>({ url: nodes[0]!.url.replace('/__ds', ''), webSocket: Socket as never, reconnectInterval: 1, onError: (error) => { errors.push(error) } })
        t.teardown(() => client.disconnect())
        await client.connect()
        const board = client.channel('board')
        const sheet = client.channel('sheet')
        await until(() => board.get() !== undefined && sheet.get() !== undefined)
        return { name: `c${i}`, client, board, sheet, serial: 0 }
      }))
      for (let step = 0; step < 150; step++) {
        const who = clients[random(clients.length)]!
        const roll = random(100)
        if (roll < 55) {
          const id = `${who.name}:${who.serial++}`
          const text = random(12) === 0 ? 'x'.repeat(random(40_000)) : id
          made.push(id)
          who.board.update((draft) => {
            draft!.count++
            draft!.log.push(id)
            if (draft!.log.length % 3 === 0) draft!.by[who.name] = text
          })
        } else if (roll < 70) {
          who.sheet.update((draft) => { draft![`${who.name}:${random(4)}`] = step })
        } else if (roll < 80) {
          const id = `s:${step}`
          made.push(id)
          const channel = (nodes[random(nodes.length)]!.ds as DatasoleServer<AppContract>).primitives.live.getSyncChannel('board')!
          await channel.update((draft) => {
            draft!.count++
            draft!.log.unshift(id)
          })
        } else if (roll < 83 && step % 3 === 0) {
          const i = random(nodes.length)
          const next = await start()
          const [old] = nodes.splice(i, 1, next)
          await old!.ds.close()
        } else {
          await sleep(random(4))
        }
      }
      isCalm = true
      await Promise.all(clients.flatMap(({ board, sheet }) => [board.saved(), sheet.saved()]))
      // a node that has heard of nothing yet has to ask the store
      const { live } = ((await start()).ds as DatasoleServer<AppContract>).primitives
      const board = await live.getState('board')
      const sheet = await live.getState('sheet')
      t.strictSame([...board!.log].sort(), [...made].sort(), 'each change is there, once')
      t.equal(board!.count, made.length)
      for (const { name } of clients) {
        const own = board!.log.filter((id) => id.startsWith(`${name}:`))
        t.strictSame(own, [...own].sort((a, b) => Number(a.split(':')[1]) - Number(b.split(':')[1])), 'in the order in which it was made')
      }
      // where a frame was repeated, the second answer is to nothing that anyone still waits for: in the server's words, not the client's
      const isRepeated = ({ code, message }: { code: string, message: string }): boolean => code === 'CONFLICT' && !message.startsWith('a change of ')
      t.strictSame(errors.filter((error) => !isRepeated(error as { code: string, message: string })), [])
      const isRight = (): boolean => clients.every((client) => JSON.stringify(client.board.get()) === JSON.stringify(board) && JSON.stringify(client.sheet.get()) === JSON.stringify(sheet))
      for (let waited = 0; !isRight() && waited < 5000; waited += 5) await sleep(5)
      for (const client of clients) {
        t.strictSame(client.board.get(), board)
        t.strictSame(client.sheet.get(), sheet)
        t.equal(client.board.pending, 0)
      }
    }
  })
}
