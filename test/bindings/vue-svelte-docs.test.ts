import { readFileSync } from 'node:fs'
import { parse as parseVue, compileScript, compileTemplate } from 'vue/compiler-sfc'
import { compile as compileSvelte } from 'svelte/compiler'
import t from 'tap'
import { snippetsOf, typeErrors, writeSnippets } from '../helpers/snippets.js'

const contract = snippetsOf(readFileSync('README.md', 'utf8')).get('contract.ts')!

for (const framework of ['vue', 'svelte']) {
  const page = readFileSync(`docs/${framework}.md`, 'utf8')

  t.test(`${framework} docs: the snippets have the right types`, async (t) => {
    const snippets = new Map([['contract.ts', contract], ...snippetsOf(page)])
    t.ok(snippets.size > 1)
    t.strictSame(typeErrors(writeSnippets(t, `${framework}-docs`, snippets), snippets.keys(), true), [])
  })

  t.test(`${framework} docs: the components compile`, async (t) => {
    const components = Array.from(page.matchAll(new RegExp(`\`\`\`${framework}\n([\\s\\S]+?)\`\`\``, 'g')), ([, code]) => code!)
    t.ok(components.length > 0)
    for (const code of components) {
      if (framework === 'svelte') {
        t.strictSame(compileSvelte(code, {}).warnings.map(({ message }) => message), [])
      } else {
        const { descriptor, errors } = parseVue(code)
        compileScript(descriptor, { id: 'x' })
        t.strictSame([...errors, ...compileTemplate({ source: descriptor.template!.content, filename: 'x.vue', id: 'x', compilerOptions: { expressionPlugins: ['typescript'] } }).errors], [])
      }
    }
  })
}
