import { randomUUID } from 'node:crypto'
import type { Journal, Position } from '../../lib/backend/backend.js'
import { applyPatch } from '../../lib/protocol/patch.js'
import { randomOf, seed } from '../helpers/random.js'

interface Test {
  equal (a: unknown, b: unknown, message?: string): unknown
  ok (a: unknown, message?: string): unknown
  strictSame (a: unknown, b: unknown, message?: string): unknown
}

/** Where somebody once was: with what value, and in which of the key's lives, which begin with its deletion. */
interface Seen extends Position { life: number, value: unknown }

interface Key { life: number, at: Position, value: unknown, seen: Seen[], /** The life in which an epoch was seen. */ epochs: Map<string, number> }

const KEYS = ['a', 'b', 'c']
const STEPS = 120

function positionOf ({ epoch, version, id }: Position): Position { return { epoch, version, id } }

/** Keys that come and go, on two nodes in turn, and somebody who remembers every place where a key ever stood. */
export class Deletions {
  readonly #t: Test
  readonly #nodes: [Journal, Journal]
  readonly #hasLog: boolean
  readonly #forgets: boolean
  readonly #random = randomOf(seed)
  readonly #keys = new Map<string, Key>()
  #fillers = 0

  constructor (t: Test, a: Journal, b: Journal, { forgets, hasLog }: { forgets: boolean, hasLog: boolean }) {
    this.#t = t
    this.#nodes = [a, b]
    this.#forgets = forgets
    this.#hasLog = hasLog
  }

  get #node (): Journal { return this.#nodes[this.#random(2)]! }

  async run (): Promise<void> {
    for (const name of KEYS) this.#keys.set(name, { life: 0, at: positionOf(await this.#node.read(name)), value: undefined, seen: [], epochs: new Map() })
    try {
      for (let step = 0; step < STEPS; step++) await this.#step(KEYS[this.#random(KEYS.length)]!)
    } catch (error) {
      throw new Error(`SEED=${seed}: ${(error as Error).message}`, { cause: error })
    }
  }

  async #step (name: string): Promise<void> {
    const key = this.#keys.get(name)!
    const what = this.#random(20)
    if (what < 8) await this.#commit(name, key)
    else if (what < 12 && key.at.version > 0) this.#moved(key, await this.delete(name, key.at), undefined, key.life + 1)
    else if (what < 18) await this.#late(name, key)
    else if (what === 19 && this.#forgets) await this.forget()
    await this.#look(name, key)
  }

  /** Two nodes at once, on what they have just read. */
  async #commit (name: string, key: Key): Promise<void> {
    for (;;) {
      const base = positionOf(await this.#node.read(name, this.#random(2) === 0 ? key.at : undefined))
      const writers = (this.#hasLog ? this.#nodes : [this.#node]).map((node) => ({ node, id: randomUUID() }))
      const results = await Promise.all(writers.map(({ node, id }) => node.commit(name, { base, commits: [{ id, patches: JSON.stringify([{ op: 'replace', path: '', value: id }]) }] })))
      const accepted = results.filter(({ accepted }) => accepted).length
      this.#t.ok(accepted <= 1, 'one at the most')
      if (accepted === 0) {
        // who was gone for a while may not know as what a key without a value stands now
        this.#t.equal(base.version, 0, `SEED=${seed}: a commit on the head is refused`)
        continue
      }
      const { id } = writers[results.findIndex(({ accepted }) => accepted)]!
      return this.#moved(key, { epoch: base.epoch, version: base.version + 1, id }, id, key.life)
    }
  }

  /** A commit that was made on one of the places where the key is no more. */
  async #late (name: string, key: Key): Promise<void> {
    const stale = key.seen.filter(({ life, version }) => life < key.life || version < key.at.version)
    if (stale.length === 0) return
    const base = positionOf(stale[this.#random(stale.length)]!)
    const commits = [{ id: randomUUID(), patches: '[{"op":"replace","path":"","value":"late"}]' }]
    const request = this.#random(4) === 0 ? { base, commits: [], reset: { epoch: randomUUID(), id: randomUUID() } } : { base, commits }
    const { accepted } = await this.#node.commit(name, request)
    this.#t.equal(accepted, false, `SEED=${seed}: taken late, on ${JSON.stringify(base)}`)
  }

  /** Whoever reads, with whatever they have, comes to the value that there is. */
  async #look (name: string, key: Key): Promise<void> {
    const have = key.seen[this.#random(key.seen.length + 1)]
    const record = await this.#node.read(name, have && positionOf(have))
    if (key.at.version === 0) key.at = positionOf(record)
    this.#t.strictSame(positionOf(record), key.at, `SEED=${seed}`)
    let value = record.snapshot === undefined ? have?.value : JSON.parse(record.snapshot.value) as unknown
    if (record.version === 0) value = undefined
    else for (const { patches } of record.commits) value = applyPatch(value, JSON.parse(patches))
    this.#t.equal(value, key.value, `SEED=${seed}: what a reader makes of ${JSON.stringify(record)} and ${JSON.stringify(have)}`)
    this.#moved(key, key.at, key.value, key.life)
  }

  #moved (key: Key, at: Position, value: unknown, life: number): void {
    Object.assign(key, { at, value, life })
    key.seen.push({ ...at, value, life })
    // clients know no more than epochs and versions
    this.#t.equal(key.epochs.get(at.epoch) ?? life, life, `SEED=${seed}: an epoch comes back`)
    key.epochs.set(at.epoch, life)
  }

  /** Gives a key a first value. */
  async create (name: string): Promise<Position> {
    for (;;) {
      const base = positionOf(await this.#node.read(name))
      const id = randomUUID()
      const { accepted } = await this.#node.commit(name, { base, commits: [{ id, patches: '[{"op":"replace","path":"","value":1}]' }], live: true, snapshot: { version: 1, value: '1' } })
      if (accepted) return { epoch: base.epoch, version: 1, id }
    }
  }

  async delete (name: string, base: Position): Promise<Position> {
    const reset = { epoch: randomUUID(), id: randomUUID() }
    const { accepted } = await this.#node.commit(name, { base, commits: [], reset })
    if (!accepted) throw new Error('a deletion is refused')
    return { epoch: reset.epoch, version: 0, id: '' }
  }

  /** Until all that has been deleted is forgotten: it takes a while, or others that are deleted. */
  async forget (): Promise<void> {
    const { epoch } = await this.delete('marker', await this.create('marker'))
    while ((await this.#node.read('marker')).epoch === epoch) {
      const name = `filler ${this.#fillers++}`
      await this.delete(name, await this.create(name))
    }
  }
}
