import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import ts from 'typescript'

const root = fileURLToPath(new URL('../..', import.meta.url))

/**
 * ms that `tsc` needs to check a contract of so many methods.
 * @param isUsed whether a server registers each method, and a client calls it
 */
export async function contractTypes (methods: number, isUsed: boolean): Promise<number> {
  const folder = await mkdtemp(join(root, 'node_modules', '.contract-types-'))
  const names = Array.from({ length: methods }, (_, i) => `method${i}`)
  const used = isUsed ? names : []
  await writeFile(join(folder, 'app.ts'), `
import { z } from 'zod'
import { defineContract } from '${root}dist/lib/contract/exports.js'
import type { DatasoleClient } from '${root}dist/lib/client/client.js'
import type { DatasoleServer } from '${root}dist/plugins/server.js'
export const contract = defineContract({
  rpc: {
    ${names.map((name) => `${name}: { params: z.object({ a: z.number(), text: z.string(), list: z.array(z.string()) }), result: z.object({ sum: z.number() }), errors: { FULL: z.object({ max: z.number() }) } }`).join(',\n    ')}
  },
  state: { ${names.slice(0, 20).map((name) => `'${name}:{id}': z.object({ a: z.number() })`).join(', ')} }
})
export async function use (ds: DatasoleServer<typeof contract>, client: DatasoleClient<typeof contract>): Promise<void> {
  ${used.map((name) => `ds.rpc.register('${name}', ({ a }) => ({ sum: a })); await client.rpc('${name}', { a: 1, text: '', list: [] })`).join('\n  ')}
  ${names.slice(0, 20).map((name) => `client.subscribeState('${name}:7', (value) => { void value?.a })`).join('\n  ')}
}
`)
  try {
    const began = performance.now()
    const program = ts.createProgram([join(folder, 'app.ts')], { strict: true, noEmit: true, skipLibCheck: true, module: ts.ModuleKind.NodeNext, moduleResolution: ts.ModuleResolutionKind.NodeNext, target: ts.ScriptTarget.ES2022, types: [] })
    const problems = program.getSemanticDiagnostics()
    if (problems.length > 0) throw new Error(ts.flattenDiagnosticMessageText(problems[0]!.messageText, '\n'))
    return performance.now() - began
  } finally {
    await rm(folder, { recursive: true })
  }
}
