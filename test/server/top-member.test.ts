import fc from 'fast-check'
import t from 'tap'
import { topMember } from '../../lib/server/connection/top-member.js'
import { seed } from '../helpers/random.js'

const NAME = 'method'

/** What JSON.parse gives, as `topMember` tells it; 'invalid' where it gives nothing. */
function parsed (json: string): string | undefined {
  let value
  try {
    value = JSON.parse(json) as unknown
  } catch {
    return 'invalid'
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined
  const member = Object.getOwnPropertyDescriptor(value, NAME)?.value as unknown
  return typeof member === 'string' ? member : undefined
}

const space = fc.string({ unit: fc.constantFrom(' ', '\t', '\n', '\r'), maxLength: 2 })
const escaped = (text: string): fc.Arbitrary<string> => fc.array(fc.boolean(), { minLength: text.length, maxLength: text.length })
  .map((isEscaped) => `"${Array.from(text, (char, i) => isEscaped[i] ? `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}` : char).join('')}"`)
const string = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 6 }).map((text) => JSON.stringify(text)),
  fc.constantFrom('"\\\\"', '"\\\\\\""', '"\\ud800"', '"\\u0000"', '"{"', '"}"', '"[,]"', '"\\/"', '"é€𝄞"', '"method"')
)
const name = fc.oneof(escaped(NAME), escaped('params'), escaped('methods'), escaped('metho'), string)

/** JSON text whose members repeat, with names that hide and spaces everywhere. */
const text = fc.letrec<{ value: string, object: string }>((tie) => ({
  value: fc.oneof({ depthSize: 'small', maxDepth: 4 }, string, fc.constantFrom('null', 'true', '1', '-1.5e3'), tie('object'),
    fc.array(tie('value'), { maxLength: 4 }).map((values) => `[${values.join(',')}]`)),
  object: fc.array(fc.tuple(space, name, space, space, tie('value'), space), { maxLength: 5 })
    .map((members) => `{${members.map(([a, key, b, c, value, d]) => `${a}${key}${b}:${c}${value}${d}`).join(',')}}`)
}))

t.test('a top member is what JSON.parse says it is, duplicates, escapes and spaces included', async (t) => {
  t.comment(`SEED=${seed}`)
  let found = 0
  fc.assert(fc.property(space, fc.oneof(text.object, text.object, text.value), space, (before, json, after) => {
    const whole = before + json + after
    const expected = parsed(whole)
    if (expected === 'invalid') throw new Error(`the generator made ${whole}`)
    if (expected !== undefined) found++
    // a lone surrogate that is not escaped cannot be sent: it is no UTF-8
    const sent = Buffer.from(whole)
    if (sent.toString() === whole) return topMember(sent, NAME) === expected
    return true
  }), { seed, numRuns: 3000 })
  t.ok(found > 100, `${found} had one`)
})

t.test('top member: whatever the bytes are, it ends, and gives a string or nothing', async (t) => {
  const fragments = fc.array(fc.oneof(text.object, fc.constantFrom('{', '}', '[', ']', '"', '\\', ',', ':', '"method"', '"method":"x"', '{"method":', '\\"'), fc.string({ unit: 'binary', maxLength: 3 })), { maxLength: 8 })
  fc.assert(fc.property(fragments, (parts) => {
    const json = parts.join('')
    const got = topMember(Buffer.from(json), NAME)
    const expected = parsed(Buffer.from(json).toString())
    return expected === 'invalid' ? got === undefined || typeof got === 'string' : got === expected
  }), { seed, numRuns: 3000 })
  fc.assert(fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => ['string', 'undefined'].includes(typeof topMember(Buffer.from(bytes), NAME))), { seed, numRuns: 1000 })
  t.equal(topMember(Buffer.from(`{"a":"${'\\\\'.repeat(1e6)}","method":"m"}`), NAME), 'm', 'escapes are looked at once')
  t.equal(topMember(Buffer.from(`{"method":"m","a":${'['.repeat(1e6)}${']'.repeat(1e6)}}`), NAME), 'm', 'depth costs no stack')
})
