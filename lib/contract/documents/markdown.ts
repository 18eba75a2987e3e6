import type { Contract } from '../define-contract.js'
import type { Schema } from '../schema.js'
import { type Side, jsonSchemaOf } from '../json-schema-of.js'

/**
 * Describes a contract as a page of Markdown: a heading for each name, and the JSON Schemas of its messages.
 * @param contract the contract
 * @param title the first heading. Default `Contract`
 * @returns the text
 */
export function markdownOf (contract: Contract, title = 'Contract'): string {
  const lines = [`# ${title}`, '']
  if (contract.version !== undefined) lines.push(`Version ${contract.version}. The server accepts clients of version \`${contract.accepts}\`.`, '')
  section(lines, 'Methods', contract.schemas.rpc, ({ params, result, errors = {} }) => [
    ...part('Parameters', params, 'input'),
    ...part('Result', result, 'output'),
    ...Object.entries(errors).flatMap(([code, schema]) => part(`Error \`${code}\``, schema, 'output'))
  ])
  section(lines, 'Events', contract.schemas.events, ({ toServer, toClient }) => [
    ...part('To the server', toServer, 'input'),
    ...part('To clients', toClient, 'output')
  ])
  section(lines, 'State', contract.schemas.state, (schema) => part('Value', schema, 'input'))
  section(lines, 'CRDTs', contract.schemas.crdts, (crdt) => {
    const { type, value, fields = {}, values } = crdt as { type: string, value?: Schema, fields?: Record<string, Schema>, values?: Schema }
    return [`Type \`${type}\`.`, '', ...part('Value', value ?? values, 'input'), ...Object.entries(fields).flatMap(([field, schema]) => part(`Field \`${field}\``, schema, 'input'))]
  })
  return lines.join('\n')
}

function section<T> (lines: string[], title: string, entries: Record<string, T>, describe: (entry: T) => string[]): void {
  if (Object.keys(entries).length === 0) return
  lines.push(`## ${title}`, '')
  for (const [name, entry] of Object.entries(entries)) lines.push(`### \`${name}\``, '', ...describe(entry))
}

function part (title: string, schema: Schema | undefined, side: Side): string[] {
  if (schema === undefined) return []
  const json = jsonSchemaOf(schema, side)
  return json === undefined ? [`${title}: not described by a JSON Schema.`, ''] : [`${title}:`, '', '```json', JSON.stringify(json, null, 2), '```', '']
}
