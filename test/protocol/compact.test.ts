import fc from 'fast-check'
import t from 'tap'
import { compactOperations, expandOperations, readCompact, varintSize, writeVarint } from '../../lib/protocol/compact.js'
import type { Operation } from '../../lib/protocol/messages.js'
import { ShortForms } from '../helpers/short-forms.js'
import { json } from './arbitrary-json.js'

/** Few segments, so that paths have beginnings in common; with all that a pointer can have in it. */
const segment = fc.constantFrom('', 'a', 'ab', '0', '10', '~0', '~1', 'ü', ' ', '-')
const path = fc.array(segment, { maxLength: 4 }).map((segments) => segments.map((each) => `/${each}`).join(''))
const operation: fc.Arbitrary<Operation> = fc.oneof(
  fc.record({ op: fc.constantFrom('add' as const, 'replace' as const, 'test' as const), path, value: json }),
  fc.record({ op: fc.constant('remove' as const), path }),
  fc.record({ op: fc.constantFrom('move' as const, 'copy' as const), from: path, path })
)

t.test('the short form of a patch loses nothing, and keeps the order', async (t) => {
  fc.assert(fc.property(fc.array(operation, { maxLength: 6 }), (operations) => {
    const list = compactOperations(operations)
    const long = JSON.stringify(operations)
    t.equal(sorted(expandOperations(JSON.parse(JSON.stringify(list)))), sorted(JSON.parse(long)))
    if (JSON.stringify(list).length > long.length) throw new Error(`it is longer than ${long}`)
  }), { numRuns: 2000 })
})

t.test('the short form is read as PROTOCOL.md has it', async (t) => {
  const short = new ShortForms()
  fc.assert(fc.property(fc.array(operation, { maxLength: 6 }), fc.nat(2 ** 31), (operations, number) => {
    short.note(6, { key: 'k', epoch: 'e', version: 4, n: number })
    const frame = Buffer.concat([Buffer.from([0x17]), varint(number), varint(3), Buffer.from(JSON.stringify(compactOperations(operations)))])
    const { patches, ...position } = short.long(frame, false).payload
    t.strictSame(position, { key: 'k', epoch: 'e', from: 4, version: 7 })
    t.equal(sorted(patches), sorted(JSON.parse(JSON.stringify(operations))))
  }))
})

t.test('what is no short form is refused, or has no effect', async (t) => {
  for (const list of [['x/a'], [''], [5], [null], [{}], ['r/a', 1, 'q']]) t.throws(() => expandOperations(list), { code: 'BAD_FRAME' }, JSON.stringify(list))
  // more segments dropped than there are
  t.strictSame(expandOperations(['r9/a', 1]), [{ op: 'replace', path: '/a', value: 1 }])
  fc.assert(fc.property(fc.array(fc.oneof(json, fc.string()), { maxLength: 6 }), (list) => {
    try {
      expandOperations(list)
    } catch (error) {
      if ((error as { code?: string }).code !== 'BAD_FRAME') throw error
    }
  }))
})

t.test('numbers have as many bytes as they need', async (t) => {
  const numbers = fc.oneof(fc.nat(300), fc.maxSafeNat(), fc.constantFrom(127, 128, 2 ** 14 - 1, 2 ** 14, 2 ** 35 - 1))
  fc.assert(fc.property(numbers, numbers, (first, second) => {
    const frame = Buffer.concat([Buffer.from([1]), varint(first), varint(second), Buffer.from('{}')])
    t.match(readCompact(frame), { first, second, json: Buffer.from('{}') })
    for (let length = 0; length < frame.length - 2; length++) t.throws(() => readCompact(frame.subarray(0, length)), { code: 'BAD_FRAME' })
  }), { numRuns: 200 })
  t.equal(varintSize(2 ** 35 - 1), 5)
})

/** Whatever order the members of an operation have. */
function sorted (operations: Operation[]): string {
  return JSON.stringify(operations.map((operation) => Object.entries(operation).sort(([a], [b]) => a < b ? -1 : 1)))
}

function varint (value: number): Buffer {
  const bytes = Buffer.alloc(varintSize(value))
  t.equal(writeVarint(bytes, 0, value), bytes.length)
  return bytes
}
