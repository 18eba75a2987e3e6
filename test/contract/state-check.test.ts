import t from 'tap'
import { stateCheckOf } from '../../lib/contract/state-check.js'
import { applyPatch } from '../../lib/protocol/patch.js'
import type { Operation } from '../../lib/protocol/messages.js'
import { clonePlain } from '../../lib/protocol/json.js'
import { workerCompiler } from '../../plugins/schema-compiler.js'
import { randomOf, seed } from '../helpers/random.js'

const compiled: object[] = []
const compileJson = workerCompiler()
const compile = (_where: string, schema: object): ReturnType<typeof compileJson> => {
  compiled.push(schema)
  return compileJson(schema)
}

const board = {
  $id: 'https://example.com/board',
  type: 'object',
  required: ['title'],
  additionalProperties: false,
  properties: {
    title: { type: 'string', maxLength: 5 },
    cards: { type: 'array', maxItems: 3, items: { $ref: '#/definitions/card' } },
    byName: { type: 'object', maxProperties: 2, additionalProperties: { $ref: '#/definitions/card' } },
    either: { anyOf: [{ type: 'string' }, { type: 'array', items: { type: 'number' } }] },
    unique: { type: 'array', uniqueItems: true }
  },
  definitions: { card: { type: 'object', required: ['n'], properties: { n: { type: 'integer', minimum: 0 }, parts: { type: 'array', items: { $ref: '#/definitions/card' } } } } }
}

t.test('state check: a change is looked at where it is, and in the container that it changes', async (t) => {
  const check = stateCheckOf(board, 'state.board', compile)!
  const value = { title: 'a', cards: [{ n: 1, parts: [{ n: 'x' }] }] }
  t.match(check(value, ['/cards/0/parts/0/n']), [{ path: '/cards/0/parts/0/n', message: /integer/ }])
  t.match(check({ title: 'too long' }, ['/title']), [{ path: '/title' }])
  t.match(check({}, ['/title']), [{ path: '', message: /required/ }])
  t.match(check({ title: 'a', more: 1 }, ['/more']), [{ path: '', message: /additional/ }])
  t.match(check({ title: 'a', cards: [{ n: 1 }, { n: 1 }, { n: 1 }, { n: 1 }] }, ['/cards/3']), [{ path: '/cards', message: /more than 3 items/ }])
  t.match(check({ title: 'a', either: [1, 'x'] }, ['/either/1']), [{}], 'where members go together the whole value is looked at')
  t.match(check({ title: 'a', unique: [1, 1] }, ['/unique/1']), [{}])
  t.equal(check({ title: 'a', cards: [{ n: 1 }] }, ['/cards/0']), undefined)
})

t.test('state check: members that are undefined are removed', async (t) => {
  const check = stateCheckOf(board, 'state.board', compile)!
  t.equal(check({ title: 'a', more: undefined, cards: [{ n: 1, parts: undefined }] }, ['/more', '/cards/0/parts']), undefined)
  t.equal(check({ title: 'a', more: undefined }), undefined)
  t.match(check({ title: undefined }, ['/title']), [{ message: /required/ }])
})

t.test('state check: its cost follows the change', async (t) => {
  compiled.length = 0
  let looked = 0
  const records = Object.fromEntries(Array.from({ length: 1000 }, (_, i) => [`r${i}`, new Proxy({ n: i }, { get (target, name) { looked++; return Reflect.get(target, name) } })]))
  const check = stateCheckOf({ type: 'object', additionalProperties: { type: 'object', properties: { n: { type: 'number' } } } }, 'state.records', compile)!
  t.equal(check(records, ['/r5/n']), undefined)
  t.ok(looked < 10, `${looked} members were read`)
  t.equal(check(records), undefined)
  t.ok(looked >= 1000, 'the whole value was looked at without places')
})

t.test(`state check: at random schemas and patches it says what a check of the whole value says (SEED=${seed})`, async (t) => {
  const random = randomOf(seed)
  const names = ['a', 'b', 'c/d']
  const schema = (depth: number): object => {
    const kind = depth === 0 ? random(2) : random(5)
    if (kind === 0) return { type: 'number', minimum: random(3) }
    if (kind === 1) return random(2) === 0 ? { type: 'string', maxLength: random(4) } : {}
    if (kind === 2) return { type: 'array', minItems: random(2), maxItems: 1 + random(3), items: schema(depth - 1), ...random(6) === 0 && { uniqueItems: true } }
    const properties = Object.fromEntries(names.filter(() => random(2) === 0).map((name) => [name, schema(depth - 1)]))
    return { type: 'object', properties, ...random(2) === 0 && { required: Object.keys(properties).slice(0, 1) }, ...random(2) === 0 && { additionalProperties: random(2) === 0 ? false : schema(depth - 1) }, ...random(5) === 0 && { maxProperties: 2 } }
  }
  const value = (depth: number): unknown => {
    const kind = depth === 0 ? random(2) : random(4)
    if (kind === 0) return random(5)
    if (kind === 1) return 'xxxx'.slice(random(5))
    if (kind === 2) return Array.from({ length: random(4) }, () => value(depth - 1))
    return Object.fromEntries(names.filter(() => random(2) === 0).map((name) => [name, value(depth - 1)]))
  }
  const placeIn = (node: unknown, pointer = ''): string => {
    if (typeof node !== 'object' || node === null || random(3) === 0) return pointer
    const keys = Array.isArray(node) ? [...node.keys(), '-'] : names
    const key = keys[random(keys.length)]!
    return placeIn((node as Record<string, unknown>)[key], `${pointer}/${String(key).replaceAll('/', '~1')}`)
  }
  let applied = 0
  let refused = 0
  for (let i = 0; i < 4000; i++) {
    const check = stateCheckOf(schema(3), 'state.k', compile)!
    const before = value(3)
    if (check(before) !== undefined) continue
    const path = placeIn(before)
    const op = (['add', 'replace', 'remove'] as const)[random(3)]!
    let after
    try {
      after = applyPatch(clonePlain(before), [{ op, path, ...op !== 'remove' && { value: value(2) } } as Operation])
    } catch {
      continue // there is no such place
    }
    if (after === undefined) continue
    applied++
    const whole = check(after) !== undefined
    if (whole) refused++
    t.equal(check(after, [path]) !== undefined, whole, `${op} ${path}`)
  }
  t.ok(applied > 100 && refused > 20, `${applied} patches, ${refused} of them refused`)
})
