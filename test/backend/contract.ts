import { randomUUID } from 'node:crypto'
import type { CommitNotice, Journal, KeyRecord, LogEntry, Position, StateBackend } from '../../lib/backend/backend.js'
import { applyPatch } from '../../lib/protocol/patch.js'
import { Deletions } from './deletions.js'
import { inTime, until } from '../helpers/until.js'

interface Test {
  test (name: string, body: (t: Test) => Promise<void>): unknown
  teardown (fn: () => unknown): void
  equal (a: unknown, b: unknown, message?: string): unknown
  not (a: unknown, b: unknown, message?: string): unknown
  strictSame (a: unknown, b: unknown, message?: string): unknown
  match (a: unknown, b: unknown, message?: string): unknown
  ok (a: unknown, message?: string): unknown
  notOk (a: unknown, message?: string): unknown
  rejects (promise: Promise<unknown>, message?: string): Promise<unknown>
}

export type FullBackend = StateBackend & Journal

export interface MakeOptions {
  /** Whether commits are kept for those who lack them; without, everyone who is behind gets a snapshot. */
  hasLog?: boolean
  /** The same of a store that soon forgets which keys were deleted: after some 1,000 deletions, or 200 ms. Without, that is not looked at. */
  makeForgetful?: (t: Test) => Promise<[FullBackend, FullBackend]>
}

/** Any JSON value has to come back as it was. */
const VALUES: unknown[] = [
  null, true, false, 0, -0.5, 1e21, 5e-324, Number.MAX_SAFE_INTEGER, '', 'text', 'U+0000 \u0000 and \ud83d\ude00 and a lone \ud800',
  [], {}, [null, [[]]], { b: 1, a: 2, 1: 'key order' }, JSON.parse('{"__proto__":{"x":1},"constructor":1}'), 'x'.repeat(900_000), Object.fromEntries(Array.from({ length: 1000 }, (_, i) => [`member ${999 - i}`, `\u0000${i}`])), { 'a/b': { 'm~n': { '': 0 } } }
]

/** They may have any characters and any length. */
const KEYS = ['k', 'K', 'k ', '', '__proto__', 'constructor', 'a:b', '}', '{}', 'a}{b', '%', '%007b', '"', '\\', '\n', 'ü\u0000', '\ud800', '\ud801', 'x'.repeat(500), 'x'.repeat(8000), 'state:k', '*']

/** A log entry that replaces the whole value. */
function entry (value: unknown): LogEntry {
  return { id: randomUUID(), patches: JSON.stringify([{ op: 'replace', path: '', value }]) }
}

/** What a reader makes of a record, on top of what it has. */
export function valueOf ({ snapshot, commits }: KeyRecord, have?: unknown): unknown {
  let value = snapshot === undefined ? have : JSON.parse(snapshot.value) as unknown
  for (const { patches } of commits) value = applyPatch(value, JSON.parse(patches))
  return value
}

function positionOf ({ epoch, version, id }: Position): Position { return { epoch, version, id } }

/** Where a key stands once these are committed. */
function after (base: Position, ...entries: LogEntry[]): Position {
  return { epoch: base.epoch, version: base.version + entries.length, id: entries.at(-1)?.id ?? base.id }
}

/**
 * What a StateBackend and its journal promise, whoever implements them. Nothing else is assumed, so
 * those who write their own backend can run it.
 *
 * @param makeBackend gives two clients of one store that nobody else uses: of two nodes, where the
 *   backend has any
 */
export function contract (t: Test, makeBackend: (t: Test) => Promise<[FullBackend, FullBackend]>, { hasLog = true, makeForgetful }: MakeOptions = {}): void {
  /** Messages that arrive under a key, and a way to await them. */
  const listen = async (t: Test, backend: StateBackend, key: string): Promise<{ messages: unknown[], count (n: number): Promise<unknown[]>, end (): void }> => {
    const messages: unknown[] = []
    let news = (): void => {}
    const end = backend.subscribe(key, (channel, value) => {
      t.equal(channel, key)
      messages.push(value)
      news()
    })
    await end.ready
    return {
      messages,
      end,
      async count (n) {
        while (messages.length < n) await inTime(new Promise<void>((resolve) => { news = resolve }), () => `message ${n}, after ${messages.length}`)
        return messages
      }
    }
  }

  t.test('values come back as they were, and belong to who gets them', async (t) => {
    const [a, b] = await makeBackend(t)
    t.equal(await a.get('k'), undefined)
    for (const value of VALUES) {
      await a.set('k', value)
      const got = await b.get('k')
      t.equal(JSON.stringify(got), JSON.stringify(value))
    }
    const mine = { list: [1] }
    await a.set('k', mine)
    mine.list.push(2)
    const first = await b.get<typeof mine>('k')
    first!.list.push(3)
    t.strictSame(await a.get('k'), { list: [1] })
  })

  t.test('keys are any strings, and do not meet', async (t) => {
    const [a, b] = await makeBackend(t)
    for (const key of KEYS) await a.set(key, key)
    for (const key of KEYS) t.equal(await b.get(key), key)
    t.equal(await b.delete('k'), true)
    t.equal(await b.delete('k'), false)
    t.equal(await a.get('k'), undefined)
    t.equal(await a.get('K'), 'K')
  })

  t.test('messages arrive on every node, in order, while one is subscribed', async (t) => {
    const [a, b] = await makeBackend(t)
    const here = await listen(t, a, 'c')
    const there = await listen(t, b, 'c')
    const other = await listen(t, b, 'other')
    const twice = await listen(t, b, 'c')
    for (let n = 0; n < 50; n++) await a.publish('c', { n })
    for (const { count } of [here, there, twice]) t.strictSame(await count(50), Array.from({ length: 50 }, (_, n) => ({ n })))
    there.end()
    there.end()
    await b.publish('c', 'text stays text')
    t.equal((await here.count(51))[50], 'text stays text')
    await twice.count(51)
    t.equal(there.messages.length, 50)
    t.equal(other.messages.length, 0)
    here.end()
    twice.end()
    other.end()
  })

  t.test('topics of a key, where there are any, are channels of their own, and one stream of what one node publishes', async (t) => {
    const [a, b] = await makeBackend(t)
    if (a.hasTopics !== true) return
    const topics = [undefined, ...KEYS]
    const heard: Array<{ topic: string | undefined, n: number }> = []
    const ends = topics.map((topic) => b.subscribe('c', (key, n) => { t.equal(key, 'c'); heard.push({ topic, n: n as number }) }, topic))
    await Promise.all(ends.map(({ ready }) => ready))
    const sent = Array.from({ length: 300 }, (_, n) => ({ topic: topics[(n * 7) % topics.length], n }))
    await Promise.all(sent.map(({ topic, n }) => a.publish('c', n, topic)))
    await until(() => heard.length >= sent.length)
    t.strictSame(heard, sent)
    for (const end of ends.slice(1)) end()
    await a.publish('c', 300, KEYS[0])
    await a.publish('c', 301)
    await until(() => heard.length > sent.length)
    t.strictSame(heard.slice(sent.length), [{ topic: undefined, n: 301 }])
    ends[0]!()
  })

  t.test('a message belongs to who gets it, and never comes before subscribe has returned', async (t) => {
    const [a] = await makeBackend(t)
    const seen: Array<{ list: number[] }> = []
    let hasReturned = false
    const both = [0, 1].map(() => a.subscribe('c', (_, value) => { t.ok(hasReturned); seen.push(value as { list: number[] }); (value as { list: number[] }).list.push(2) }))
    await Promise.all(both.map(({ ready }) => ready))
    const message = { list: [1] }
    const published = a.publish('c', message)
    message.list.push(666)
    hasReturned = true
    await published
    await until(() => seen.length === 2)
    t.strictSame(seen, [{ list: [1, 2] }, { list: [1, 2] }])
    for (const end of both) end()
  })

  t.test('a key that was never written stands at version 0', async (t) => {
    const [a, b] = await makeBackend(t)
    const record = await a.read('k')
    t.match(record, { version: 0, live: false, commits: [] })
    t.equal(record.snapshot, undefined)
    t.equal(typeof record.epoch, 'string')
    t.strictSame(await a.read('k', positionOf(record)), record)
    t.equal((await a.read('another')).epoch, record.epoch, 'of the backend\'s one history')
    t.strictSame(await a.liveKeys(), [])
    void b
  })

  t.test('a commit advances the head by as many versions as it has entries', async (t) => {
    const [a, b] = await makeBackend(t)
    const base = positionOf(await a.read('k'))
    const entries = [entry({ n: 1 }), entry({ n: 2 }), { id: randomUUID(), patches: '[{"op":"add","path":"/m","value":"ü\\u0000"}]' }]
    const first = await a.commit('k', { base, commits: entries.slice(0, 1) })
    t.match(first, { accepted: true, epoch: base.epoch, version: 1, logBytes: Number })
    const second = await a.commit('k', { base: after(base, entries[0]!), commits: entries.slice(1) })
    t.match(second, { accepted: true, version: 3 })
    const record = await b.read('k')
    t.match(record, { epoch: base.epoch, version: 3, id: entries[2]!.id, live: false })
    t.strictSame(valueOf(record), { n: 2, m: 'ü\u0000' })
    t.equal(record.commits.length + (record.snapshot?.version ?? 0), 3, 'commits follow the snapshot without a gap')
  })

  t.test('on another head nothing happens, and the writer learns what it misses', async (t) => {
    const [a, b] = await makeBackend(t)
    const base = positionOf(await a.read('k'))
    const entries = [entry(1), entry(2)]
    await a.commit('k', { base, commits: entries })
    for (const wrong of [base, after(base, entries[0]!), { ...base, version: 3, id: 'three' }, { epoch: 'unknown', version: 2, id: entries[1]!.id }]) {
      const result = await b.commit('k', { base: wrong, commits: [entry('never')], live: true })
      t.equal(result.accepted, false)
      if (result.accepted) return
      t.match(result.missed, { epoch: base.epoch, version: 2, live: false })
      t.equal(valueOf(result.missed, wrong.version === 1 ? 1 : undefined), 2)
      t.equal(result.missed.isLost ?? false, wrong.version === 3)
    }
    t.equal(valueOf(await a.read('k')), 2)
    t.strictSame(await a.liveKeys(), [])
  })

  t.test('of writers at once one wins, whatever node they are on', async (t) => {
    const nodes = await makeBackend(t)
    let base = positionOf(await nodes[0].read('k'))
    for (let round = 0; round < 20; round++) {
      const outcomes = await Promise.all(Array.from({ length: 6 }, (_, i) => nodes[i % (hasLog ? 2 : 1)]!.commit('k', { base, commits: [entry({ round, i })] })))
      const winner = outcomes.findIndex(({ accepted }) => accepted)
      t.equal(outcomes.filter(({ accepted }) => accepted).length, 1)
      const record = await nodes[1].read('k')
      t.strictSame(valueOf(record), { round, i: winner })
      base = positionOf(record)
      t.equal(base.version, round + 1)
    }
  })

  t.test('every accepted commit is announced, in order, to all nodes', async (t) => {
    const [a, b] = await makeBackend(t)
    const ears = [await listen(t, a, 'k'), await listen(t, b, 'k')]
    const start = positionOf(await a.read('k'))
    const entries = [entry(1), entry(2), entry(3)]
    await a.commit('k', { base: start, commits: [entries[0]!] })
    await a.commit('k', { base: start, commits: [entry('refused')] })
    await b.commit('k', { base: after(start, entries[0]!), commits: [entries[1]!, entries[2]!], live: true, snapshot: { version: 3, value: '3' } })
    for (const { count, end } of ears) {
      const [first, second, ...others] = await count(2) as CommitNotice[]
      t.strictSame(others, [])
      t.match(first, { base: start, head: after(start, entries[0]!), live: false })
      t.match(second, { base: after(start, entries[0]!), head: after(start, ...entries), live: true })
      if (first!.commits !== undefined) t.strictSame(first!.commits, [entries[0]])
      if (second!.commits !== undefined) t.strictSame(second!.commits, entries.slice(1))
      end()
    }
  })

  t.test('keys of the journal are any strings, too', async (t) => {
    const [a, b] = await makeBackend(t)
    const heard: string[] = []
    const ends = KEYS.map((key) => b.subscribe(key, (channel, notice) => { if ((notice as CommitNotice).live) heard.push(channel) }))
    await Promise.all(ends.map(({ ready }) => ready))
    for (const key of KEYS) {
      const base = positionOf(await a.read(key))
      t.match(await a.commit(key, { base, commits: [entry(key)], live: true, snapshot: { version: 1, value: JSON.stringify(key) } }), { accepted: true, version: 1 })
    }
    for (const key of KEYS) t.equal(valueOf(await b.read(key)), key)
    t.strictSame((await b.liveKeys()).sort(), [...KEYS].sort())
    for (const prefix of KEYS.flatMap((key) => [key, key.slice(0, 1), key.slice(0, -1)])) {
      const found = await b.liveKeys(prefix)
      t.strictSame(found.filter((key) => key.startsWith(prefix)).sort(), KEYS.filter((key) => key.startsWith(prefix)).sort(), JSON.stringify(prefix).slice(0, 100))
    }
    await until(() => heard.length === KEYS.length)
    t.strictSame(heard.sort(), [...KEYS].sort())
    for (const end of ends) end()
  })

  t.test('a key becomes live, stays so, and is listed', async (t) => {
    const [a, b] = await makeBackend(t)
    const base = positionOf(await a.read('k'))
    const first = entry(1)
    await a.commit('k', { base, commits: [first] })
    t.strictSame(await b.liveKeys(), [])
    // without any change of the value, too
    const live = await a.commit('k', { base: after(base, first), commits: [], live: true, snapshot: { version: 1, value: '1' } })
    t.match(live, { accepted: true, version: 1 })
    t.strictSame(await b.liveKeys(), ['k'])
    await b.commit('k', { base: after(base, first), commits: [entry(2)] })
    t.match(await a.read('k'), { version: 2, live: true })
    await a.commit('l', { base: positionOf(await a.read('l')), commits: [entry(1)], live: true, snapshot: { version: 1, value: '1' } })
    t.strictSame((await b.liveKeys()).sort(), ['k', 'l'])
  })

  t.test('what a key was before it became live is in no record', async (t) => {
    const [a, b] = await makeBackend(t)
    const base = positionOf(await a.read('k'))
    const secrets = [entry('secret 1'), entry('secret 2')]
    await a.commit('k', { base, commits: secrets })
    await a.commit('k', { base: after(base, ...secrets), commits: [entry('shown')], live: true, snapshot: { version: 3, value: '"shown"' } })
    for (const have of [undefined, base, after(base, secrets[0]!), after(base, ...secrets)]) {
      const record = await b.read('k', have)
      t.equal(valueOf(record), 'shown')
      t.ok(!JSON.stringify(record).includes('secret'))
    }
  })

  t.test('a reset takes value and liveness, and starts an epoch', async (t) => {
    const [a, b] = await makeBackend(t)
    const base = positionOf(await a.read('k'))
    const first = entry(1)
    await a.commit('k', { base, commits: [first], live: true, snapshot: { version: 1, value: '1' } })
    const ear = await listen(t, b, 'k')
    const epoch = randomUUID()
    t.match(await b.commit('k', { base, commits: [], reset: { epoch: randomUUID(), id: randomUUID() } }), { accepted: false }, 'not on an older head')
    t.match(await a.commit('k', { base: after(base, first), commits: [], reset: { epoch, id: randomUUID() } }), { accepted: true, epoch, version: 0 })
    const start = { epoch, version: 0, id: '' }
    t.match(await ear.count(1), [{ base: after(base, first), head: start, live: false }])
    ear.end()
    for (const have of [undefined, base, after(base, first), start]) {
      const record = await b.read('k', have)
      t.match(record, { ...start, live: false, commits: [] })
      t.equal(record.snapshot, undefined)
    }
    t.strictSame(await b.liveKeys(), [])
    t.match(await b.commit('k', { base: start, commits: [entry('again')] }), { accepted: true, epoch, version: 1 })
    t.equal(valueOf(await a.read('k', after(base, first))), 'again', 'whoever knows the former life gets the whole')
  })

  t.test('a reset with a value keeps liveness, and is version 1 of its epoch', async (t) => {
    const [a, b] = await makeBackend(t)
    const base = positionOf(await a.read('k'))
    const first = entry({ n: 1 })
    await a.commit('k', { base, commits: [first], live: true, snapshot: { version: 1, value: '{"n":1}' } })
    const reset = { epoch: randomUUID(), id: randomUUID(), value: '{"n":2}' }
    t.match(await b.commit('k', { base: after(base, first), commits: [], reset }), { accepted: true, epoch: reset.epoch, version: 1 })
    const start = { epoch: reset.epoch, version: 1, id: reset.id }
    for (const have of [undefined, after(base, first)]) {
      const record = await a.read('k', have)
      t.match(record, { ...start, live: true })
      t.strictSame(valueOf(record), { n: 2 })
    }
    t.match(await a.read('k', start), { ...start, commits: [] })
    t.strictSame(await a.liveKeys(), ['k'])
    const next = entry({ n: 3 })
    t.match(await a.commit('k', { base: start, commits: [next] }), { accepted: true, version: 2 })
    t.strictSame((await b.read('k', start)).commits, hasLog ? [next] : [])
  })

  for (const [kind, make] of Object.entries({ remembers: makeBackend, forgets: makeForgetful })) {
    if (make !== undefined) {
      t.test(`keys that come and go, where the store ${kind} them: no epoch comes back, and nothing late is taken`, async (t) => {
        const [a, b] = await make(t)
        await new Deletions(t, a, b, { forgets: kind === 'forgets', hasLog }).run()
      })
    }
  }

  if (makeForgetful !== undefined) {
    t.test('a deleted key is forgotten', async (t) => {
      const [a, b] = await makeForgetful(t)
      const never = positionOf(await a.read('never written'))
      const deletions = new Deletions(t, a, b, { forgets: true, hasLog })
      const { epoch } = await deletions.delete('k', await deletions.create('k'))
      t.match(await a.read('k'), { epoch, version: 0, live: false })
      await deletions.forget()
      for (const have of [undefined, { epoch, version: 0, id: '' }, never]) {
        const record = await b.read('k', have)
        t.match(record, { version: 0, live: false, commits: [] })
        t.notOk([epoch, never.epoch].includes(record.epoch), 'in an epoch that nobody has seen')
      }
      t.strictSame(await a.liveKeys(), [])
    })
  }

  t.test('who knows another history of the epoch is told, and gets the whole', async (t) => {
    const [a, b] = await makeBackend(t)
    const base = positionOf(await a.read('k'))
    const entries = [entry(1), entry(2), entry(3)]
    await a.commit('k', { base, commits: entries })
    const head = after(base, ...entries)
    for (const have of [{ ...head, id: 'another' }, { ...head, version: 4, id: 'four' }]) {
      const record = await b.read('k', have)
      t.equal(record.isLost, true)
      t.equal(valueOf(record), 3)
      const result = await b.commit('k', { base: have, commits: [entry('never')] })
      t.match(result, { accepted: false, missed: { isLost: true, version: 3 } })
    }
    for (const have of [base, head, undefined, { epoch: 'another', version: 9, id: 'nine' }]) t.notOk((await a.read('k', have)).isLost)
    if (hasLog) t.equal((await a.read('k', { ...base, version: 2, id: 'another' })).isLost, true, 'however old it is, while the log goes back that far')
  })

  t.test('snapshots replace the log without a gap, at whatever version they are', async (t) => {
    const [a, b] = await makeBackend(t)
    const base = positionOf(await a.read('k'))
    const pad = 'x'.repeat(5000)
    const entries = Array.from({ length: 60 }, (_, i) => entry({ n: i + 1, pad }))
    const at = (n: number): Position => after(base, ...entries.slice(0, n))
    for (let n = 1; n <= 60; n++) {
      const snapshot = n % 10 === 0 ? { version: n - 1, value: JSON.stringify({ n: n - 1, pad }) } : undefined
      const result = await a.commit('k', { base: at(n - 1), commits: [entries[n - 1]!], snapshot })
      t.match(result, { accepted: true, version: n })
      const record = await b.read('k')
      t.strictSame(valueOf(record), { n, pad })
      t.equal((record.snapshot?.version ?? 0) + record.commits.length, n)
      if (hasLog && n > 5) {
        const tail = await b.read('k', at(n - 5))
        t.equal(tail.snapshot, undefined, 'the tail of the log stays')
        t.equal(tail.commits.length, 5)
      }
    }
    t.match(await a.read('k', at(60)), { version: 60, commits: [] })
    t.strictSame(valueOf(await a.read('k', at(1))), { n: 60, pad })
    t.strictSame(valueOf(await a.read('k', { ...base, version: 61, id: 'later' })), { n: 60, pad }, 'a reader from the future gets the whole')
  })

  t.test('values of any kind survive a commit', async (t) => {
    const [a, b] = await makeBackend(t)
    let base = positionOf(await a.read('k'))
    for (const value of VALUES) {
      const next = entry(value)
      t.match(await a.commit('k', { base, commits: [next] }), { accepted: true })
      base = after(base, next)
      t.equal(JSON.stringify(valueOf(await b.read('k'))), JSON.stringify(value))
    }
  })

  t.test('journal and plain values do not meet', async (t) => {
    const [a] = await makeBackend(t)
    await a.commit('state:k', { base: positionOf(await a.read('state:k')), commits: [entry(1)] })
    await a.set('k', 2)
    t.equal(valueOf(await a.read('state:k')), 1)
    t.equal(await a.get('k'), 2)
  })

  t.test('expire lets a value go, and set takes that back', async (t) => {
    const [a, b] = await makeBackend(t)
    if (a.expire === undefined || b.expire === undefined) return
    t.equal(await a.expire('k', 1000), false)
    await a.set('k', 1)
    t.equal(await a.expire('k', 60_000), true)
    t.equal(await b.get('k'), 1)
    t.equal(await b.expire('k', 1), true)
    await until(async () => await a.get('k') === undefined)
    t.equal(await b.delete('k'), false)
    await a.set('k', 2)
    await a.expire('k', 1)
    await a.set('k', 3)
    await new Promise((resolve) => setTimeout(resolve, 20))
    t.equal(await b.get('k'), 3)
  })

  t.test('a commit with ttlMs lets the key go, and the next commit decides anew', async (t) => {
    const [a, b] = await makeBackend(t)
    const base = positionOf(await a.read('k'))
    const [first, second] = [entry(1), entry(2)]
    t.match(await a.commit('k', { base, commits: [first], ttlMs: 60_000, live: hasLog, snapshot: { version: 1, value: '1' } }), { accepted: true, version: 1 })
    t.equal(valueOf(await b.read('k')), 1)
    t.match(await b.commit('k', { base: after(base, first), commits: [], ttlMs: 1 }), { accepted: true, version: 1 }, 'no more than a new term')
    await until(async () => (await a.read('k')).version === 0)
    const gone = await a.read('k', after(base, first))
    t.match(gone, { ...base, live: false, commits: [], isLost: true })
    t.equal(gone.snapshot, undefined)
    t.strictSame(await b.liveKeys(), [])
    t.match(await b.commit('k', { base: after(base, first), commits: [second] }), { accepted: false, missed: { version: 0, isLost: true } })

    // a new life, which stays
    let at = base
    for (let isThere = false; !isThere;) {
      // a first refusal may only clear away what was there, and a busy machine may take longer than the term
      isThere = (await a.commit('k', { base: at, commits: [second], ttlMs: 50 })).accepted &&
        (await b.commit('k', { base: after(at, second), commits: [first] })).accepted
      at = isThere ? after(at, second) : positionOf(await a.read('k'))
    }
    t.match(await b.read('k'), { ...after(at, first), live: false })
    await new Promise((resolve) => setTimeout(resolve, 80))
    t.equal(valueOf(await a.read('k')), 1)
    t.match(await a.commit('k', { base: after(at, first), commits: [], reset: { epoch: randomUUID(), id: randomUUID(), value: '3' }, ttlMs: 1 }), { accepted: true, version: 1 })
    await until(async () => (await b.read('k')).version === 0)
    t.strictSame(positionOf(await a.read('k')), positionOf(await a.read('never written')))
  })

  t.test('consume admits what fits into the window, on all nodes together', async (t) => {
    const [a, b] = await makeBackend(t)
    const nodes = [a, b]
    if (a.consume === undefined || b.consume === undefined) return
    const rule = { windowMs: 60_000, maxRequests: 10 }
    const results = await Promise.all(Array.from({ length: 50 }, (_, i) => nodes[i % 2]!.consume!('bucket', rule, 1)))
    t.equal(results.filter(({ allowed }) => allowed).length, 10)
    t.strictSame(results.filter(({ allowed }) => allowed).map(({ remaining }) => remaining).sort((x, y) => y - x), [9, 8, 7, 6, 5, 4, 3, 2, 1, 0])
    for (const { retryAfter } of results.filter(({ allowed }) => !allowed)) t.ok(retryAfter! > 50_000 && retryAfter! <= 60_000)
    t.match(await b.consume('bucket', rule, 0), { allowed: false, remaining: 0 })
    t.match(await b.consume('another', rule, 7), { allowed: true, remaining: 3 })
    t.match(await a.consume('another', rule, 4), { allowed: false, remaining: 3 }, 'a refused cost is not counted')
    t.match(await a.consume('another', rule, 0), { allowed: true, remaining: 3 }, 'nor is a question')
    const last = await b.consume('another', rule, 3)
    t.match(last, { allowed: true, remaining: 0 })
    t.ok(Math.abs(last.resetAt - Date.now() - 60_000) < 5000)
    await t.rejects((async () => await a.consume!('another', rule, 11))())
    await a.delete('bucket')
    t.match(await b.consume('bucket', rule, 1), { allowed: true, remaining: 9 })
  })

  t.test('what was consumed leaves the window when its time is over, and not before', async (t) => {
    const [a] = await makeBackend(t)
    if (a.consume === undefined) return
    const rule = { windowMs: 150, maxRequests: 3 }
    const admitted: Array<{ asked: number, answered: number }> = []
    for (let isDue = false; admitted.length < 15;) {
      const asked = performance.now()
      const { allowed, retryAfter } = await a.consume('bucket', rule, 1)
      if (allowed) admitted.push({ asked, answered: performance.now() })
      else if (isDue) throw new Error('refused after it had waited as long as it was told')
      // timers may be early by a part of a millisecond
      else await new Promise((resolve) => setTimeout(resolve, retryAfter! + 2))
      isDue = !allowed
    }
    // it was decided somewhen between the question and the answer, by a clock that may count whole milliseconds
    for (let i = 3; i < admitted.length; i++) t.ok(admitted[i]!.answered - admitted[i - 3]!.asked >= rule.windowMs - 1)
    t.match(await a.consume('empty', { windowMs: 10, maxRequests: 0 }, 0), { allowed: false, remaining: 0, retryAfter: 10 })
  })
}
