import { readFileSync } from 'node:fs'
import t from 'tap'
import { CloseCode, RpcCode } from '../../lib/protocol/codes.js'
import { compactOperations, expandOperations, readCompact } from '../../lib/protocol/compact.js'
import { decodeFrame, encodeFrame } from '../../lib/protocol/frame.js'
import { Opcode } from '../../lib/protocol/opcodes.js'
import { encodeCompact } from '../../lib/server/connection/encoding.js'

// from the repository's root: the document is not compiled
const text = readFileSync('lib/protocol/PROTOCOL.md', 'utf8')

/** The cells of every table row whose first cell matches. */
function rows (first: RegExp): string[][] {
  return text.split('\n')
    .filter((line) => line.startsWith('|'))
    .map((line) => line.split('|').slice(1, -1).map((cell) => cell.trim()))
    .filter((cells) => first.test(cells[0]!))
}

t.test('protocol document: the opcode table is the code\'s', async (t) => {
  const table = Object.fromEntries(rows(/^0x/).map(([value, name]) => [name, Number(value)]))
  t.same(table, Opcode)
  for (const [value, name, direction, version] of rows(/^0x/)) {
    t.equal(Number(version), Number(value) <= Opcode.CRDT_STATE ? 1 : Number(value) <= Opcode.GOAWAY ? 2 : 3, `${name} came with its version`)
    t.match(direction, /^(C→S|S→C)$/, `${name} has a direction`)
  }
})

t.test('protocol document: the table of RPC codes is the code\'s', async (t) => {
  const table = rows(/^-32\d{3}$/).map(([code, name]) => [Number(code), name!.replaceAll('`', '')])
  t.same(new Set(table.map(([code]) => code)), new Set(Object.values(RpcCode)))
  const names: Record<string, number> = RpcCode
  for (const [code, name] of table) if (name !== '') t.equal(names[name as string], code, `${name}`)
})

t.test('protocol document: the table of close codes is the code\'s', async (t) => {
  const table = rows(/^[14]\d{3}/).flatMap(([codes]) => codes!.split(',').map(Number))
  t.same(new Set(table), new Set(Object.values(CloseCode)))
})

t.test('protocol document: the test vectors', async (t) => {
  const block = /```text vectors\n([\s\S]+?)```/.exec(text)![1]!
  const lines = block.trim().split('\n')
  t.ok(lines.length >= 15, 'they are there')
  for (const line of lines) {
    const [, hex, name, id, json] = /^([0-9a-f]+) (\w+) (\d+) (.+)$/.exec(line)!
    const bytes = Buffer.from(hex!, 'hex')
    const opcode = Opcode[name as keyof typeof Opcode]
    t.same(Buffer.from(encodeFrame(opcode, Number(id), Buffer.from(json!))), bytes, `${name} encodes`)
    const frame = decodeFrame(bytes)
    t.equal(frame.opcode, opcode)
    t.equal(frame.correlationId, Number(id))
    t.equal(Buffer.from(frame.payload).toString(), json, `${name} decodes`)
    t.doesNotThrow(() => JSON.parse(json!))
    t.throws(() => decodeFrame(bytes.subarray(0, -1)), RangeError, 'a truncated frame is refused')
  }
})

t.test('protocol document: the test vectors of compact frames', async (t) => {
  const lines = /```text compact vectors\n([\s\S]+?)```/.exec(text)![1]!.trim().split('\n')
  t.equal(lines.length, 4)
  for (const line of lines) {
    const [, hex, name, first, second, rest = ''] = /^([0-9a-f]+) (\w+) (\d+) (\d+)(?: (.+))?$/.exec(line)!
    const bytes = Buffer.from(hex!, 'hex')
    const opcode = Opcode[name as keyof typeof Opcode]
    const [json, operations] = name === 'PATCH_COMPACT' ? rest.split(/(?<=\]) (?=\[)/) as [string, string] : [rest]
    t.same(encodeCompact(opcode, Number(first), Number(second), json, Infinity).subarray(2), bytes, `${name} encodes`)
    const compact = readCompact(bytes)
    t.match(compact, { first: Number(first), second: Number(second) })
    t.equal(Buffer.from(compact.json).toString(), json, `${name} decodes`)
    for (let length = 1; length < bytes.length - compact.json.length; length++) t.throws(() => readCompact(bytes.subarray(0, length)), { code: 'BAD_FRAME' }, 'a truncated frame is refused')
    if (operations === undefined) continue
    t.strictSame(expandOperations(JSON.parse(json)), JSON.parse(operations))
    t.equal(JSON.stringify(compactOperations(JSON.parse(operations))), json)
  }
})
