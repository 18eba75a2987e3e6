import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { Type } from '@sinclair/typebox'
import { Parser } from '@asyncapi/parser'
import t from 'tap'
import { z } from 'zod'
import { asyncApiOf, defineContract, markdownOf } from '../../lib/contract/exports.js'
import { contract } from './contract.js'
import { logins } from './schemas.js'

const run = promisify(execFile)
const command = fileURLToPath(new URL('../../lib/cli/command.js', import.meta.url))

t.test('documents: AsyncAPI is valid, also with recursive schemas, odd names and every library', async (t) => {
  interface Tree { children: Tree[] }
  const tree: z.ZodType<Tree> = z.object({ get children () { return z.array(tree) } }) as never
  const odd = defineContract({
    rpc: { 'a/b c': { params: tree, errors: { E: tree } }, a_b_c: {}, __proto: { params: z.date() } },
    events: Object.fromEntries(Object.entries(logins)),
    state: { '{org}/room:{id}': { type: 'object', properties: { next: { $ref: '#' } } }, 'emoji 🎉': z.string().transform((text) => text.length) },
    crdts: { 'pad:{id}': 'yjs', node: { type: 'lww-register', value: Type.Recursive((This) => Type.Object({ nodes: Type.Array(This) }), { $id: 'Node' }) } }
  })
  for (const each of [contract, odd, defineContract({})]) {
    const { document, diagnostics } = await new Parser().parse(JSON.stringify(asyncApiOf(each, { title: 'test', server: { host: 'example.com', pathname: '/__ds' } })))
    t.strictSame(diagnostics.filter(({ severity }) => severity === 0).map(({ message, path }) => `${path.join('.')}: ${message}`), [])
    t.ok(document)
  }
  const { channels, operations } = asyncApiOf(contract)
  t.match(channels['state-room__id_'], { address: 'room:{id}', parameters: { id: {} } })
  t.match(operations['call-rpc-add'], { action: 'receive', reply: { messages: [{}, {}] } })
})

t.test('documents: Markdown has a heading for each name', async (t) => {
  const page = markdownOf(contract, 'Messages')
  for (const heading of ['# Messages', '## Methods', '### `add`', 'Error `OVERFLOW`', '### `chat`', 'To clients', '### `room:{id}`', 'Field `votes`', 'Type `pn-counter`', 'accepts clients of version `>=6`']) t.ok(page.includes(heading), heading)
})

t.test('documents: the command prints them', async (t) => {
  const file = fileURLToPath(new URL('contract.js', import.meta.url))
  const { stdout } = await run(process.execPath, [command, 'docs', file, '--title', 'Messages'])
  t.equal(stdout, markdownOf(contract, 'Messages'))
  t.match(JSON.parse((await run(process.execPath, [command, 'docs', file, '--format', 'asyncapi'])).stdout), { asyncapi: '3.0.0' })
  t.match((await run(process.execPath, [command, '--help'])).stdout, /datasole docs/)
  for (const [args, message] of [[['docs'], /usage/], [['docs', fileURLToPath(new URL('schemas.js', import.meta.url))], /exports no contract/], [['docs', 'nowhere.js'], /nowhere/], [['serve'], /usage/], [['docs', file, '--format', 'pdf'], /usage/]] as const) {
    await t.rejects(run(process.execPath, [command, ...args]), { code: 1, stderr: message }, args.join(' '))
  }
})

t.test('documents: the command reads TypeScript', async (t) => {
  const folder = t.testdir({ 'contract.ts': `import { defineContract } from '${new URL('../../lib/contract/exports.js', import.meta.url).href}'\nexport const contract = defineContract({ state: { typed: { type: 'number' } as object } })\n` })
  const { stdout } = await run(process.execPath, [command, 'docs', `${folder}/contract.ts`])
  t.match(stdout, '### `typed`')
})
