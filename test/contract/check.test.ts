import { Type } from '@sinclair/typebox'
import t from 'tap'
import { z } from 'zod'
import { type Check, type Verdict, checkOf, syncCheckOf } from '../../lib/contract/check.js'
import { stateCheckOf } from '../../lib/contract/state-check.js'
import { type Schema, type } from '../../lib/contract/schema.js'
import { workerCompiler } from '../../plugins/schema-compiler.js'
import { logins } from './schemas.js'

const compileJson = workerCompiler()
const compile = (_where: string, schema: object): ReturnType<typeof compileJson> => compileJson(schema)
const checkFor = (schema: Schema): Check => checkOf(schema, 'place', compile)!
const issues = (verdict: Verdict): ReadonlyArray<{ path: string, message: string }> => verdict?.issues ?? []

for (const [library, schema] of Object.entries(logins)) {
  t.test(`${library}: a value passes, or is refused with where and why`, async (t) => {
    const check = checkFor(schema)
    t.same(issues(await check({ name: 'ann', tries: 1 })), [])
    t.same(issues(await check({ name: 'ann', tries: 1, tags: ['a'] })), [])
    t.equal(issues(await check({ name: 'ann', tries: '1' }))[0]!.path, '/tries', 'nothing is coerced')
    t.equal(issues(await check({ name: 'ann', tries: 1, tags: ['a', 5] }))[0]!.path, '/tags/1')
    for (const wrong of [undefined, null, 5, [], { name: 'ann' }, { name: '', tries: 1 }]) t.ok(issues(await check(wrong)).length > 0, JSON.stringify(wrong))
  })

  t.test(`${library}: an issue never has the value in it`, async (t) => {
    const check = checkFor(schema)
    const secret = 's3cret-token'
    for (const wrong of [secret, { name: 5, tries: secret }, { name: `${secret} and more`, tries: 1 }, { name: 'ann', tries: 1, tags: [{ secret }] }, { name: 'ann', tries: 1, tags: secret }, { name: { secret }, tries: [secret] }]) {
      const found = issues(await check(wrong))
      t.ok(found.length > 0)
      t.notMatch(JSON.stringify(found), secret)
    }
  })
}

t.test('check: a message of the application that echoes the value is replaced', async (t) => {
  const check = checkFor(z.string().refine(() => false, { error: ({ input }) => `${String(input)} is taken` }))
  t.same(await check('s3cret'), { issues: [{ path: '', message: 'is not accepted' }] })
})

t.test('check: names of members are escaped as in RFC 6901, and issues are bounded', async (t) => {
  const check = checkFor(z.record(z.string(), z.number()))
  t.equal(issues(await check({ 'a/b~c': 'x' }))[0]!.path, '/a~1b~0c')
  const many = issues(await check(Object.fromEntries(Array.from({ length: 100 }, (_, i) => [`k${i}`, 'x']))))
  t.equal(many.length, 20)
})

t.test('check: a schema that transforms hands on what it makes; refinements count', async (t) => {
  const check = checkFor(z.object({ name: z.string().trim(), at: z.string().transform((text) => text.length) }))
  t.same(await check({ name: ' ann ', at: 'four', more: 1 }), { value: { name: 'ann', at: 4 } })
  t.ok(issues(await checkFor(z.object({ a: z.number() }).refine(({ a }) => a > 5))({ a: 1 })).length > 0)
})

t.test('check: recursive schemas, and those of another copy of a library', async (t) => {
  interface Tree { name: string, children: Tree[] }
  const tree: z.ZodType<Tree> = z.object({ name: z.string(), get children () { return z.array(tree) } }) as never
  t.equal(issues(await checkFor(tree)({ name: 'a', children: [{ name: 'b', children: [{ name: 5, children: [] }] }] }))[0]!.path, '/children/0/children/0/name')
  const node = Type.Recursive((This) => Type.Object({ n: Type.Number(), nodes: Type.Array(This) }), { $id: 'Node' })
  t.equal(issues(await checkFor({ type: 'object', properties: { next: { $ref: '#' }, n: { type: 'number' } } })({ next: { next: { n: 'x' } } }))[0]!.path, '/next/next/n')
  const wrong = { n: 1, nodes: [{ n: 'x', nodes: [] }] }
  t.equal(issues(await checkFor(node)(wrong))[0]!.path, '/nodes/0/n')
  t.equal(issues(await checkFor(Type.Object({ tree: node, list: Type.Array(Type.Ref(node)) }))({ tree: { n: 1, nodes: [] }, list: [wrong] }))[0]!.path, '/list/0/nodes/0/n')
  t.match(stateCheckOf(node, 'place', compile)!(wrong, ['/nodes/0/n']), [{ path: '/nodes/0/n' }])
  const foreign = { '~standard': { version: 1, vendor: 'other', validate: (value: unknown) => value === 1 ? { value } : { issues: [{ message: 'must be one', path: [{ key: 'x' }] }] } } }
  t.same(await checkFor(foreign)(2), { issues: [{ path: '/x', message: 'must be one' }] })
})

t.test('check: an asynchronous schema answers later, and is refused where nothing can wait', async (t) => {
  const schema = z.string().refine(async (text) => text === 'free')
  t.equal(await checkFor(schema)('free'), undefined)
  t.equal(issues(await checkFor(schema)('taken')).length, 1)
  t.throws(() => syncCheckOf(schema, 'state.k', compile)!('free'), { name: 'TypeError', message: /state\.k must return its result synchronously/ })
})

t.test('check: a schema that throws throws; a type without a check checks nothing', async (t) => {
  const broken = { '~standard': { version: 1, vendor: 'broken', validate () { throw new Error('broken') } } }
  t.throws(() => checkFor(broken)(1), /broken/)
  t.equal(checkOf(type<number>(), 'place', compile), undefined)
})
