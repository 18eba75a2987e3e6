import { randomUUID } from 'node:crypto'
import { Redis } from 'ioredis'
import t from 'tap'
import { RedisBackend } from '../../lib/backend/redis/redis.js'
import { isEqual } from '../../lib/protocol/json.js'
import { Mirror } from '../helpers/mirror.js'
import { cluster, storeNode } from '../helpers/nodes.js'
import { until } from '../helpers/until.js'

const admin = new Redis(process.env.REDIS_URL!)
t.teardown(() => { admin.disconnect() })

type Live = Awaited<ReturnType<typeof storeNode>>['primitives']['live']

async function append (live: Live, entry: string): Promise<void> {
  await live.update('k', (draft) => [...(draft as string[] | undefined ?? []), entry])
}

/** What happens to a store that was at version 5, then at version 8, and is at version 5 again. */
const STORIES: Record<string, { others?: number, isGone?: boolean, isTwice?: boolean }> = {
  'and stays there': {},
  'and others take the same versions': { others: 3 },
  'and others go beyond them': { others: 6 },
  'or rather has nothing left of the key': { isGone: true },
  'and once more, when nodes have noticed': { isTwice: true }
}

for (const [story, { others = 0, isGone = false, isTwice = false }] of Object.entries(STORIES)) {
  t.test(`a store comes back without its newest commits, ${story}`, async (t) => {
    const keyPrefix = `${randomUUID()}:`
    const open = (): RedisBackend => new RedisBackend({ url: process.env.REDIS_URL, keyPrefix })
    const nodes = await cluster(t, 2, {}, [open(), open()])
    const [a, b] = nodes.map(({ ds }) => ds.primitives.live as Live) as [Live, Live]
    const mirrors: Mirror[] = []
    for (const node of nodes) {
      const mirror = new Mirror()
      mirror.use(await node.connect())
      mirror.subscribe('k')
      mirrors.push(mirror)
    }
    const allHave = async (value: string[] | undefined): Promise<void> => {
      await Promise.all(mirrors.map((mirror) => mirror.until(() => isEqual(mirror.value('k') ?? null, value ?? null))))
      for (const live of [a, b]) await until(async () => isEqual(await live.getState('k') ?? null, value ?? null))
    }

    const kept = ['0', '1', '2', '3', '4']
    for (const entry of kept) await append(a, entry)
    await allHave(kept)
    const names = ['head', 'log', 'ids'].map((kind) => `${keyPrefix}${kind}:{state:k}`)
    const saved = await Promise.all(names.map((name) => admin.dumpBuffer(name)))
    for (const entry of ['5', '6', '7']) await append(b, entry)
    await allHave([...kept, '5', '6', '7'])
    const { epoch } = mirrors[0]!.held.get('k')!

    const comeBack = async (): Promise<void> => {
      await admin.del(names)
      if (!isGone) for (const [i, name] of names.entries()) await admin.restore(name, 0, saved[i]!)
    }
    await comeBack()
    // someone who knows nothing of what was
    const stranger = await storeNode(t, { stateBackend: open() })
    const strange = Array.from({ length: others }, (_, i) => `other ${i}`)
    for (const entry of strange) await append(stranger.primitives.live, entry)
    await admin.call('client', 'kill', 'type', 'pubsub')
    const left = isGone ? undefined : [...kept, ...strange]
    await allHave(left)
    for (const mirror of mirrors) t.not(mirror.held.get('k')!.epoch, epoch, 'in another epoch, so that no patch of the one history meets a value of the other')

    if (isTwice) {
      await Promise.all([append(a, 'x'), append(b, 'y')])
      await comeBack()
      // a writer finds it out by itself
      await append(a, 'z')
      await allHave([...kept, 'z'])
    }
    await Promise.all([append(a, 'end of a'), append(b, 'end of b')])
    const value = await (await storeNode(t, { stateBackend: open() })).primitives.live.getState('k') as string[]
    t.strictSame(value.slice(-2).sort(), ['end of a', 'end of b'])
    await allHave(value)
    for (const mirror of mirrors) t.strictSame(mirror.complaints, [])
  })
}
