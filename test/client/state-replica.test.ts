import fc from 'fast-check'
import t from 'tap'
import { StateReplica } from '../../lib/client/state-replica.js'
import { type SubscriptionHost, StateSubscriptions } from '../../lib/client/state-subscriptions.js'
import { diff } from '../../lib/protocol/diff.js'
import { clonePlain } from '../../lib/protocol/json.js'
import type { Operation, Subscribe } from '../../lib/protocol/messages.js'
import { Opcode } from '../../lib/protocol/opcodes.js'
import { applyPatch } from '../../lib/protocol/patch.js'
import { DEEP, json, operationSeeds, operationsOn } from '../protocol/arbitrary-json.js'

const seed = Number(process.env.SEED ?? Math.trunc(Math.random() * 2 ** 31))
t.comment(`seed ${seed} (SEED=${seed} repeats this run)`)

const KEY = 'key'

interface Packet { opcode: number, id: number, payload: object }

/**
 * A server with one key, and the network between it and a client: what travels waits until the story
 * delivers it, and patches may be lost, come twice or change places on their way.
 */
class Model implements SubscriptionHost {
  epoch = 'e1'
  version = 0
  value: unknown
  /** Every committed version, as JSON. */
  readonly committed = new Map<string, string | undefined>([['e1 0', undefined]])
  isConnected = false
  isSubscribed = false
  toServer: Packet[] = []
  toClient: Packet[] = []
  readonly errors: unknown[] = []
  readonly subscriptions = new StateSubscriptions(this)
  /** The SUBSCRIBE without an answer; the client may have one per key. */
  asked = 0
  #log: Array<{ from: number, patches: Operation[] }> = []
  #epochs = 1
  #id = 0

  nextId (): number { return ++this.#id }
  onError (error: unknown): void { this.errors.push(error) }

  send (opcode: number, id: number, payload: object): void {
    if (opcode === Opcode.SUBSCRIBE && this.asked !== 0) throw new Error('two requests for one key')
    this.asked = id // UNSUBSCRIBE has none: nobody waits any more
    this.toServer.push({ opcode, id, payload: clonePlain(payload) })
  }

  commit (change: (value: unknown) => unknown): void {
    const next = change(this.value)
    const patches = this.value === undefined ? [{ op: 'replace' as const, path: '', value: clonePlain(next) }] : diff(this.value, next, DEEP)
    this.#log.push({ from: this.version, patches })
    if (this.#log.length > 3) this.#log.shift()
    this.value = clonePlain(next)
    this.version++
    this.committed.set(`${this.epoch} ${this.version}`, JSON.stringify(this.value))
    if (this.isSubscribed) this.#toClient(Opcode.STATE_PATCH, 0, { from: this.version - 1, version: this.version, patches })
  }

  /** The key is deleted, or its history lost: another life of it. */
  restart (value: unknown): void {
    this.epoch = `e${++this.#epochs}`
    this.version = value === undefined ? 0 : 1
    this.value = value
    this.#log = []
    this.committed.set(`${this.epoch} ${this.version}`, JSON.stringify(value))
    if (this.isSubscribed) this.#snapshot(0)
  }

  /** A patch for the version that the client has, which does not apply. */
  nonsense (): void {
    const patches: Operation[] = [{ op: 'test', path: '', value: { never: 'this' } }]
    if (this.isSubscribed) this.#toClient(Opcode.STATE_PATCH, 0, { from: this.version, version: this.version + 1, patches })
  }

  connect (): void {
    this.drop()
    this.isConnected = true
    this.subscriptions.connected()
  }

  drop (): void {
    this.isConnected = this.isSubscribed = false
    this.toServer = []
    this.toClient = []
    this.asked = 0
    this.subscriptions.disconnected()
  }

  serve (): void {
    const packet = this.toServer.shift()
    if (packet === undefined) return
    this.isSubscribed = packet.opcode === Opcode.SUBSCRIBE
    if (!this.isSubscribed) return
    const { epoch, version } = packet.payload as Subscribe
    const first = this.#log.findIndex(({ from }) => from === version)
    if (epoch === this.epoch && version === this.version) {
      this.#toClient(Opcode.STATE_PATCH, packet.id, { from: version, version, patches: [] })
    } else if (epoch === this.epoch && first !== -1) {
      this.#toClient(Opcode.STATE_PATCH, packet.id, { from: version, version: this.version, patches: this.#log.slice(first).flatMap(({ patches }) => patches) })
    } else {
      this.#snapshot(packet.id)
    }
  }

  deliver (): void {
    const packet = this.toClient.shift()
    if (packet === undefined) return
    if (packet.id === this.asked) this.asked = 0
    this.subscriptions.receive(packet.opcode, packet.id, packet.payload as never)
  }

  /** Loses, doubles or delays the newest patch that is on its way. */
  disturb (how: 'lose' | 'double' | 'swap'): void {
    const { length } = this.toClient
    const newest = this.toClient[length - 1]
    if (newest?.opcode !== Opcode.STATE_PATCH || newest.id !== 0) return
    if (how === 'lose') this.toClient.pop()
    else if (how === 'double') this.toClient.push(newest)
    else if (this.toClient[length - 2]?.opcode === Opcode.STATE_PATCH && this.toClient[length - 2]!.id === 0) this.toClient.splice(length - 2, 2, newest, this.toClient[length - 2]!)
  }

  settle (): void {
    while (this.toServer.length > 0 || this.toClient.length > 0) {
      while (this.toServer.length > 0) this.serve()
      this.deliver()
    }
  }

  #snapshot (id: number): void {
    this.#toClient(Opcode.STATE_SNAPSHOT, id, { version: this.version, ...(this.value === undefined ? {} : { data: this.value }) })
  }

  #toClient (opcode: number, id: number, message: object): void {
    this.toClient.push({ opcode, id, payload: clonePlain({ key: KEY, epoch: this.epoch, ...message }) })
  }
}

/** A subscriber that knows what it must never be told. */
class Witness {
  readonly kept: Array<[value: unknown, json: string | undefined]> = []
  readonly complaints: string[] = []
  readonly #newest = new Map<string, number>()
  last: { value: unknown, epoch: string, version: number } | undefined

  constructor (readonly model: Model) {}

  readonly handler = (value: unknown, { epoch, version }: { epoch: string, version: number }): void => {
    const text = JSON.stringify(value)
    const name = `${epoch} ${version}`
    if (!this.model.committed.has(name)) this.complaints.push(`${name} was never committed`)
    else if (!isSame(text, this.model.committed.get(name))) this.complaints.push(`${name} was not ${text}`)
    if (version < (this.#newest.get(epoch) ?? 0)) this.complaints.push(`${name} after version ${this.#newest.get(epoch)}`)
    this.#newest.set(epoch, version)
    this.kept.push([value, text])
    this.last = { value, epoch, version }
  }

  check (): void {
    for (const [value, text] of this.kept) if (JSON.stringify(value) !== text) this.complaints.push(`${text} became ${JSON.stringify(value)} in the hands of its owner`)
    if (this.complaints.length > 0) throw new Error(this.complaints.join('\n'))
    if (this.model.errors.length > 0) throw this.model.errors[0]
  }
}

/** The order of members is not part of a value. */
function isSame (a: string | undefined, b: string | undefined): boolean {
  if (a === undefined || b === undefined) return a === b
  return a === b || diff(JSON.parse(a), JSON.parse(b), DEEP).length === 0
}

type Step = (model: Model, witnesses: Witness[], ends: Array<() => void>) => void

const ordinary: Array<fc.Arbitrary<Step>> = [
  operationSeeds().map((seeds): Step => (model) => {
    model.commit((value) => {
      let next: unknown = value ?? {}
      for (const operation of operationsOn(next, seeds)) {
        try {
          next = applyPatch(next, [operation])
        } catch {} // an operation that does not apply changes nothing
      }
      return next
    })
  }),
  json.map((value): Step => (model) => { model.commit(() => value) }),
  fc.constant<Step>((model) => { model.serve() }),
  fc.constant<Step>((model) => { model.deliver() }),
  fc.constant<Step>((model) => { model.settle() })
]
const eventful: Array<fc.Arbitrary<Step>> = [
  fc.option(json, { nil: undefined }).map((value): Step => (model) => { model.restart(value) }),
  fc.constant<Step>((model) => { model.connect() }),
  fc.constant<Step>((model) => { model.drop() }),
  fc.constant<Step>((model) => { model.nonsense() }),
  fc.constantFrom<Array<'lose' | 'double' | 'swap'>>('lose', 'double', 'swap').map((how): Step => (model) => { model.disturb(how) }),
  fc.constant<Step>((model, witnesses, ends) => {
    const witness = new Witness(model)
    witnesses.push(witness)
    ends.push(model.subscriptions.add(KEY, witness.handler, {}))
  }),
  fc.constant<Step>((_model, witnesses, ends) => {
    // the last one goes too: then the replica is forgotten, and the next begins anew
    ends.shift()?.()
    witnesses.shift()?.check()
  })
]
const story = fc.array(fc.oneof({ weight: 2, arbitrary: fc.oneof(...ordinary) }, { weight: 1, arbitrary: fc.oneof(...eventful) }), { maxLength: 60 })

t.test('whatever happens on the way, the replica shows committed versions only, in order, and ends at the newest', async () => {
  fc.assert(fc.property(story, (steps) => {
    const model = new Model()
    const witnesses = [new Witness(model)]
    const ends = [model.subscriptions.add(KEY, witnesses[0]!.handler, {})]
    model.connect()
    for (const step of steps) step(model, witnesses, ends)
    const last = new Witness(model)
    witnesses.push(last)
    model.subscriptions.add(KEY, last.handler, {})
    // the network gets better: nobody has to do anything
    if (!model.isConnected) model.connect()
    model.settle()
    model.commit((value) => [value ?? null])
    model.settle()
    for (const witness of witnesses) {
      witness.check()
      const shown = witness.last
      if (shown?.epoch !== model.epoch || shown.version !== model.version) throw new Error(`ended at ${shown?.epoch} ${shown?.version}, not ${model.epoch} ${model.version}`)
    }
    if (!isSame(JSON.stringify(model.subscriptions.get(KEY)), JSON.stringify(model.value))) throw new Error('getState differs')
  }), { seed, numRuns: 1000 })
})

t.test('replica: what a patch leaves alone is the same object before and after', async (t) => {
  const replica = new StateReplica()
  replica.snapshot({ key: KEY, epoch: 'e', version: 1, data: { a: { deep: [1] }, b: { n: 1 } } })
  const before = replica.value as { a: object, b: object }
  t.equal(replica.patch({ key: KEY, epoch: 'e', from: 1, version: 2, patches: [{ op: 'replace', path: '/b/n', value: 2 }] }), 'changed')
  const after = replica.value as { a: object, b: object }
  t.equal(after.a, before.a)
  t.strictSame(before.b, { n: 1 })
  t.strictSame(after.b, { n: 2 })
})

t.test('replica: versions', async (t) => {
  const replica = new StateReplica()
  const patch = (from: number, version: number, epoch = 'e'): string => replica.patch({ key: KEY, epoch, from, version, patches: [{ op: 'replace', path: '', value: version }] })
  t.equal(patch(0, 1), 'gap', 'nothing to apply it to')
  t.equal(replica.snapshot({ key: KEY, epoch: 'e', version: 5, data: 5 }), 'changed')
  t.equal(patch(4, 5), 'known')
  t.equal(patch(3, 4), 'known')
  t.equal(patch(5, 8), 'changed', 'several commits as one')
  t.equal(patch(7, 9), 'gap', 'only `from` counts')
  t.equal(patch(8, 9, 'f'), 'gap', 'another epoch')
  t.equal(replica.snapshot({ key: KEY, epoch: 'e', version: 7, data: 7 }), 'known', 'an old snapshot')
  t.equal(replica.value, 8)
  t.equal(replica.snapshot({ key: KEY, epoch: 'f', version: 0 }), 'changed', 'deleted')
  t.equal(replica.value, undefined)
  t.equal(replica.patch({ key: KEY, epoch: 'f', from: 0, version: 1, patches: [{ op: 'remove', path: '/a' }] }), 'gap')
  t.equal(replica.head, undefined, 'it asks for a snapshot')
})

t.test('replica: a snapshot that cannot be frozen changes nothing', async (t) => {
  const replica = new StateReplica()
  replica.snapshot({ key: KEY, epoch: 'e', version: 1, data: 'known' })
  const deep = JSON.parse('['.repeat(100_000) + ']'.repeat(100_000)) as unknown
  t.throws(() => replica.snapshot({ key: KEY, epoch: 'e', version: 5, data: deep }), RangeError)
  t.match(replica, { value: 'known', head: { epoch: 'e', version: 1 } })
})
