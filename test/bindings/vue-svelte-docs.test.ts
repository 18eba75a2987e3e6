import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parse as parseVue, compileScript, compileTemplate } from 'vue/compiler-sfc'
import { compile as compileSvelte } from 'svelte/compiler'
import t from 'tap'
import ts from 'typescript'

const contract = /```ts\n\/\/ contract\.ts\n([\s\S]+?)```/.exec(readFileSync('README.md', 'utf8'))![1]!

for (const framework of ['vue', 'svelte']) {
  // inside the repository the package finds itself by its own name
  const folder = join('dist', `${framework}-docs`)
  const page = readFileSync(`docs/${framework}.md`, 'utf8')
  const snippets = new Map([['contract.ts', contract], ...Array.from(page.matchAll(/```ts\n\/\/ (\S+)\n([\s\S]+?)```/g), ([, name, code]) => [name!, code!] as const)])

  t.test(`${framework} docs: the snippets have the right types`, async (t) => {
    t.ok(snippets.size > 1)
    mkdirSync(folder, { recursive: true })
    t.teardown(() => { rmSync(folder, { recursive: true, force: true }) })
    for (const [name, code] of snippets) writeFileSync(join(folder, name), code)
    const program = ts.createProgram(Array.from(snippets.keys(), (name) => join(folder, name)), {
      target: ts.ScriptTarget.ES2023,
      lib: ['lib.es2023.d.ts', 'lib.dom.d.ts'],
      module: ts.ModuleKind.NodeNext,
      moduleResolution: ts.ModuleResolutionKind.NodeNext,
      strict: true,
      noEmit: true,
      skipLibCheck: true,
      types: ['node']
    })
    t.strictSame(ts.getPreEmitDiagnostics(program).map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, '\n')), [])
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
