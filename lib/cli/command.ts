#!/usr/bin/env node
import { parseArgs } from 'node:util'
import { messageOf } from '../protocol/errors.js'
import { asyncApiOf } from '../contract/documents/asyncapi.js'
import { markdownOf } from '../contract/documents/markdown.js'
import { loadContract } from './load-contract.js'

const USAGE = `datasole docs <contract> [--format markdown|asyncapi] [--title <title>]

Prints the documentation of a contract. <contract> is a module that exports it, as "contract" or by default.
`

/** Runs the command `datasole`. */
async function main (): Promise<void> {
  const { values: { format = 'markdown', title, help }, positionals: [command, file, ...rest] } = parseArgs({
    allowPositionals: true,
    options: { format: { type: 'string' }, title: { type: 'string' }, help: { type: 'boolean', short: 'h' } }
  })
  if (help === true) {
    process.stdout.write(USAGE)
    return
  }
  if (command !== 'docs' || file === undefined || rest.length > 0 || (format !== 'markdown' && format !== 'asyncapi')) throw new Error(`usage: ${USAGE}`)
  const contract = await loadContract(file)
  process.stdout.write(format === 'markdown' ? markdownOf(contract, title) : JSON.stringify(asyncApiOf(contract, { title }), null, 2) + '\n')
}

main().catch((error: unknown) => {
  process.stderr.write(`${messageOf(error)}\n`)
  process.exitCode = 1
})
