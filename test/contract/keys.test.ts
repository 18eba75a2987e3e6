import t from 'tap'
import { KeyIndex } from '../../lib/contract/key-index.js'
import { KeyTemplate } from '../../lib/contract/key-template.js'
import { randomOf, seed } from '../helpers/random.js'

const find = (names: string[], key: string): unknown[] => {
  const { name, params } = new KeyIndex(names.map((name) => [name, true] as const)).find(key) ?? {}
  return [name, { ...params }]
}

t.test('keys: a template matches one or more characters but "/" for each parameter', async (t) => {
  t.same(find(['room:{id}'], 'room:7'), ['room:{id}', { id: '7' }])
  t.same(find(['room:{id}'], 'room:7:b'), ['room:{id}', { id: '7:b' }])
  t.same(find(['room:{id}'], 'room:'), [undefined, {}])
  t.same(find(['room:{id}'], 'room:a/b'), [undefined, {}])
  t.same(find(['{org}/{user}'], 'acme/ann'), ['{org}/{user}', { org: 'acme', user: 'ann' }])
  t.same(find(['a{x}b{y}c'], 'abbbbc'), ['a{x}b{y}c', { x: 'b', y: 'bb' }], 'a parameter ends where the text after it first begins')
})

t.test('keys: colons are characters of a name; names come before templates, and the more literal first', async (t) => {
  const names = ['chat:message', '{a}:{b}', 'chat:{b}', '{a}:message']
  t.same(find(['chat:message', 'chat:{b}'], 'chat:message'), ['chat:message', {}])
  t.same(find(names, 'chat:other'), ['chat:{b}', { b: 'other' }])
  t.same(find(names, 'x:y'), ['{a}:{b}', { a: 'x', b: 'y' }])
  t.same(find(names, 'x:message'), ['{a}:message', { a: 'x' }])
})

t.test('keys: templates between which a key could not choose are refused', async (t) => {
  for (const pair of [['room:{id}', 'room:{name}'], ['{a}:x', 'x:{a}'], ['a{x}b', '{x}ab']]) {
    t.throws(() => new KeyIndex(pair.map((name) => [name, true] as const)), { message: /can match the same key/ }, pair.join(' '))
  }
  t.doesNotThrow(() => new KeyIndex([['a/{x}', 1], ['b/{x}', 2]]))
})

t.test('keys: a template that is none says why', async (t) => {
  for (const [template, why] of [['{', /brace/], ['a}', /brace/], ['{a}{b}', /adjacent/], ['{}', /not a parameter/], ['{a b}', /not a parameter/], ['{a}:{a}', /twice/]] as const) {
    t.throws(() => new KeyTemplate(template), { message: why }, template)
  }
})

t.test(`keys: random templates and keys match as by a naive search (SEED=${seed})`, async (t) => {
  const random = randomOf(seed)
  const text = (max: number): string => Array.from({ length: random(max + 1) }, () => 'ab/:'[random(4)]).join('')
  for (let i = 0; i < 5000; i++) {
    const parts = Array.from({ length: 1 + random(3) }, (_, i) => `{p${i}}`)
    const template = parts.reduce((all, part, i) => all + (i === 0 ? text(2) : text(2) || ':') + part, '') + text(2)
    const key = text(8)
    const pattern = new RegExp(`^${template.replace(/\{\w+\}/g, '([^/]+?)')}$`)
    t.equal(new KeyTemplate(template).match(key) !== undefined, pattern.test(key), `${template} ${key}`)
  }
})

t.test('keys: hostile keys cost no more than their length', async (t) => {
  const template = new KeyTemplate('{a}:{b}:{c}:{d}:{e}x')
  t.equal(template.match(':'.repeat(100_000)), undefined)
  const index = new KeyIndex([['room:{id}', 1]])
  for (let i = 0; i < 50_000; i++) index.find(`other ${i}`)
  t.equal(index.find('room:1')!.value, 1)
  t.same(index.find(`room:${'x'.repeat(8000)}`)!.name, 'room:{id}', 'a long key is found as well, and not remembered')
})
