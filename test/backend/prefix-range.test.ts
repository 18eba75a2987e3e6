import t from 'tap'
import { prefixRange } from '../../lib/backend/prefix-range.js'

const KEYS = ['', 'a', 'a~', 'a\u007f', 'aü', 'a😀', 'a\ud83d', 'a"', 'a\\', 'b', 'crdt:', 'crdt:k', 'crdt;', '\udbff\udfff']

t.test('every key with a prefix is in its range, in the order of bytes', async (t) => {
  const encode = (text: string): string => JSON.stringify(text).slice(0, -1)
  for (const prefix of KEYS.flatMap((key) => [key, key.slice(0, -1)])) {
    const { from, to } = prefixRange(prefix, encode)!
    for (const key of KEYS.filter((key) => key.startsWith(prefix))) {
      const bytes = Buffer.from(encode(key))
      t.ok(bytes.compare(Buffer.from(from)) >= 0 && bytes.compare(Buffer.from(to)) < 0, `${JSON.stringify(prefix)}: ${JSON.stringify(key)}`)
    }
  }
})

t.test('prefix range: a range leaves other keys out', async (t) => {
  t.strictSame(prefixRange('crdt:', (text) => text), { from: 'crdt:', to: 'crdt;' })
  t.equal(prefixRange('', (text) => text), undefined)
})
