import { join } from 'node:path'
import t from 'tap'
import type { Need } from './need.js'
import { needsOf } from './needs-of.js'

const need = (name: string, ...provides: string[]): Need => ({ name, provides }) as unknown as Need
const needs = [need('one', 'ONE_URL', 'ONE_PROGRAM'), need('two', 'TWO_URL')]

t.test('a test needs what it names, and what its helpers name', async (t) => {
  const folder = t.testdir({
    test: {
      'none.js': "import { a } from '../lib/a.js'\nimport t from 'tap'",
      'itself.js': 'process.env.ONE_PROGRAM',
      'other.js': 'process.env.ONE_URLS',
      'imports.js': "import {\n  a\n} from './helpers/a.js'",
      'bare.js': "import './helpers/a.js'",
      'dynamic.js': "await import('./helpers/a.js'); process.env.ONE_URL",
      helpers: { 'a.js': "export * from './b.js'", 'b.js': "import '../bare.js'\nprocess.env['TWO_URL']" }
    },
    lib: { 'a.js': 'process.env.ONE_URL' }
  })
  const of = async (name: string): Promise<string[]> => (await needsOf(join(folder, 'test', name), join(folder, 'test'), needs)).map(({ name }) => name).sort()
  t.strictSame(await of('none.js'), [])
  t.strictSame(await of('itself.js'), ['one'])
  t.strictSame(await of('other.js'), [])
  t.strictSame(await of('imports.js'), ['two'])
  t.strictSame(await of('bare.js'), ['two'])
  t.strictSame(await of('dynamic.js'), ['one', 'two'])
})
