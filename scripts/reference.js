import { readFile, writeFile } from 'node:fs/promises'
import ts from 'typescript'

/*
 * Writes docs/reference/options.md from the docstrings of the option types. With --check it only tests whether the page
 * is up to date.
 */
const PARTS = [
  ['Server', 'lib/server/config/server-options.ts', [
    ['DatasoleServerOptions', 'The options of `fastify.register(datasole, options)` and `new DatasoleServer(options)`. Each is optional. A wrong value or an unknown name throws `INVALID_OPTION`, which names the option.'],
    ['RateLimitConfig', 'The option `rateLimit`: see [rate limits](../rate-limits.md).'],
    ['ExecutorOptions', 'The option `executor`: see [executors](../executors.md).'],
    ['SessionOptions', 'The option `session`: see [sessions](../sessions.md).'],
    ['BackendConfig', 'The option `backendConfig`: see [backends](../backends.md).']
  ]],
  ['Authentication', 'lib/server/context/connection-context.ts', [['AuthResult', 'The result of the auth handler: see [authentication](../authentication.md).']]],
  ['Redis', 'lib/backend/redis/redis-client.ts', [['RedisBackendOptions', '`new RedisBackend(options)`: see [backends](../backends.md).']]],
  ['Postgres', 'lib/backend/postgres/postgres-options.ts', [['PostgresBackendOptions', '`new PostgresBackend(options)`: see [backends](../backends.md).']]],
  ['Client', 'lib/client/client-options.ts', [
    ['DatasoleClientOptions', '`new DatasoleClient(options)`: see [the client](../client.md).'],
    ['OutboxOptions', 'The option `outbox` of the client.']
  ]]
]
const PAGE = 'docs/reference/options.md'

async function page () {
  const parts = ['# Options', 'Every option with its type and default. `npm run docs:reference` writes this page from the docstrings.']
  for (const [title, file, interfaces] of PARTS) {
    parts.push(`## ${title}`)
    const source = ts.createSourceFile(file, await readFile(file, 'utf8'), ts.ScriptTarget.Latest, true)
    for (const [name, intro] of interfaces) {
      const declaration = source.statements.find((statement) => ts.isInterfaceDeclaration(statement) && statement.name.text === name)
      if (declaration === undefined) throw new Error(`${file} has no interface ${name}`)
      parts.push(`### ${name}`, wrapped(intro, ''), ...declaration.members.filter(ts.isPropertySignature).map((member) => entry(member, source)))
    }
  }
  return `${parts.join('\n\n')}\n`
}

/** Formats a member as a list item. */
function entry (member, source) {
  const name = member.name.getText(source)
  const type = member.type.getText(source).replace(/\s+/g, ' ')
  return `- **\`${name}\`**: \`${type}\`${member.questionToken === undefined ? ', required' : ''}\n\n${wrapped(docsOf(member, name))}`
}

function docsOf (member, name) {
  const text = ts.getTextOfJSDocComment(member.jsDoc?.at(-1)?.comment)?.replace(/\s+/g, ' ').trim()
  if (text === undefined || text === '') throw new Error(`${name} has no docstring`)
  return text
}

/** Wraps text at 120 characters; by default indented below its list item. */
function wrapped (text, indent = '  ') {
  const lines = ['']
  for (const word of text.split(' ')) {
    if (lines.at(-1).length + word.length > 116) lines.push('')
    lines[lines.length - 1] += `${lines.at(-1) === '' ? indent : ' '}${word}`
  }
  return lines.join('\n')
}

const text = await page()
if (process.argv.includes('--check')) {
  if (await readFile(PAGE, 'utf8').catch(() => '') !== text) {
    console.error(`${PAGE} is not up to date: npm run docs:reference`)
    process.exitCode = 1
  }
} else {
  await writeFile(PAGE, text)
}
