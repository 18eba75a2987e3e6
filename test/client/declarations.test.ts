import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import t from 'tap'

const client = fileURLToPath(new URL('../../lib/client/client.js', import.meta.url))
const tsc = fileURLToPath(new URL('../lib/tsc.js', import.meta.resolve('typescript')))

/** What the compiler says to code that uses the client where only `lib` is there. */
async function complaints (t: Tap, lib: string[], code: string): Promise<string> {
  const folder = t.testdir({
    'package.json': '{"type":"module"}',
    'code.ts': `import { DatasoleClient } from ${JSON.stringify(client)}\n${code}`,
    'tsconfig.json': JSON.stringify({
      compilerOptions: { strict: true, noEmit: true, module: 'nodenext', target: 'es2023', lib, types: [], skipLibCheck: false, skipDefaultLibCheck: true },
      files: ['code.ts']
    })
  })
  return await promisify(execFile)(process.execPath, [tsc, '-p', folder])
    .then(() => '', ({ stdout }: { stdout: string }) => stdout)
}

interface Tap { testdir (files: Record<string, string>): string }

t.test('the declarations need neither DOM nor Node.js', async (t) => {
  t.equal(await complaints(t, ['es2023'], `
    export const client = new DatasoleClient({ url: 'http://x' })
    // @ts-expect-error so that it is known to be looked at
    export const other = new DatasoleClient({ retries: 3 })
  `), '')
})

t.test('declarations: they fit those of the DOM', async (t) => {
  t.equal(await complaints(t, ['es2023', 'dom'], `
    const client = new DatasoleClient({ webSocket: WebSocket })
    await client.rpc('x', undefined, { signal: AbortSignal.timeout(5) })
  `), '')
})
