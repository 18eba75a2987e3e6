import type { Contract } from '../define-contract.js'
import { rooted } from '../json-schema.js'
import type { Schema } from '../schema.js'
import { type Side, jsonSchemaOf } from '../json-schema-of.js'

/** Facts about the application for an AsyncAPI document. */
export interface AsyncApiInfo {
  /** Default: "datasole". */
  title?: string
  /** Default: the contract's version, or "0" without one. */
  version?: string
  /** A description of the application. Default none. */
  description?: string
  /** The address that clients connect to, e.g. `{ host: 'example.com', pathname: '/__ds', protocol: 'wss' }`. */
  server?: { host: string, pathname?: string, protocol?: string, description?: string }
}

/** An AsyncAPI 3.0 document. */
export interface AsyncApiDocument {
  /** The version of the AsyncAPI specification. */
  asyncapi: '3.0.0'
  /** The application. */
  info: { title: string, version: string, description?: string }
  /** The WebSocket endpoint, if it was given. */
  servers?: Record<string, object>
  /** Methods, events and keys, by id. */
  channels: Record<string, object>
  /** The messages that the server receives and sends on each channel, by id. */
  operations: Record<string, object>
  /** JSON Schemas of the messages, by id. */
  components: { schemas: Record<string, object> }
}

/** A channel's messages by name. */
type Messages = Record<string, { schema: Schema | undefined, side: Side, summary: string }>

/**
 * Describes a contract as AsyncAPI 3.0 (https://www.asyncapi.com/docs/reference/specification/v3.0.0), from the
 * server's point of view: `receive` is a message from a client. A channel is a method, an event or a key, and its
 * address is the name.
 * @param contract the contract
 * @param info title, version and server of the application. Default none
 * @returns the document
 */
export function asyncApiOf (contract: Contract, info: AsyncApiInfo = {}): AsyncApiDocument {
  const writer = new AsyncApiWriter()
  for (const [name, { params, result, errors = {} }] of Object.entries(contract.schemas.rpc)) {
    const failures: Messages = Object.fromEntries(Object.entries(errors).map(([code, schema]) => [`error-${code}`, { schema, side: 'output', summary: `The error ${code} of ${name}` }]))
    const messages: Messages = { params: { schema: params, side: 'input', summary: `Parameters of ${name}` }, result: { schema: result, side: 'output', summary: `Result of ${name}` }, ...failures }
    const channel = writer.channel('rpc', name, 'A method that clients call', messages)
    writer.operation(channel, 'call', 'receive', ['params'], { channel: ref('channels', channel), messages: Object.keys(messages).slice(1).map((id) => ref('channels', channel, 'messages', id)) })
  }
  for (const [name, { toServer, toClient }] of Object.entries(contract.schemas.events)) {
    const channel = writer.channel('event', name, 'An event', {
      ...toServer && { toServer: { schema: toServer, side: 'input', summary: `${name}, as clients send it` } },
      ...toClient && { toClient: { schema: toClient, side: 'output', summary: `${name}, as the server sends it` } }
    })
    if (toServer !== undefined) writer.operation(channel, 'receive', 'receive', ['toServer'])
    if (toClient !== undefined) writer.operation(channel, 'send', 'send', ['toClient'])
  }
  for (const [name, schema] of Object.entries(contract.schemas.state)) {
    const channel = writer.channel('state', name, 'Live state: a snapshot, then JSON Patches (RFC 6902) of it', { value: { schema, side: 'input', summary: `The value of ${name}` } })
    writer.operation(channel, 'send', 'send', ['value'])
  }
  for (const [name, crdt] of Object.entries(contract.schemas.crdts)) {
    const { type, value, fields, values } = crdt as { type: string, value?: Schema, fields?: Record<string, Schema>, values?: Schema }
    const messages: Messages = { value: { schema: value ?? values, side: 'input', summary: `A value of ${name}` } }
    for (const [field, schema] of Object.entries(fields ?? {})) messages[`field-${field}`] = { schema, side: 'input', summary: `The field ${field} of ${name}` }
    const channel = writer.channel('crdt', name, `A CRDT of type ${type}`, messages)
    writer.operation(channel, 'receive', 'receive', Object.keys(messages))
    writer.operation(channel, 'send', 'send', Object.keys(messages))
  }
  const { title = 'datasole', version = String(contract.version ?? 0), description, server } = info
  return {
    asyncapi: '3.0.0',
    info: { title, version, ...description !== undefined && { description } },
    ...server && { servers: { websocket: { protocol: 'ws', ...server } } },
    ...writer.document
  }
}

class AsyncApiWriter {
  readonly document: Pick<AsyncApiDocument, 'channels' | 'operations' | 'components'> = { channels: {}, operations: {}, components: { schemas: {} } }

  /** @returns the id of the channel */
  channel (section: string, address: string, description: string, messages: Messages): string {
    const { channels } = this.document
    const id = uniqueId(channels, `${section}-${address}`)
    const names = section === 'state' || section === 'crdt' ? Array.from(address.matchAll(/\{([^{}]+)\}/g), ([, name]) => name!) : []
    channels[id] = {
      address,
      description,
      messages: Object.fromEntries(Object.entries(messages).map(([name, message]) => [name, this.#message(`${id}-${name}`, name, message)])),
      ...names.length > 0 && { parameters: Object.fromEntries(names.map((name) => [name, { description: 'One or more characters but "/"' }])) }
    }
    return id
  }

  operation (channel: string, name: string, action: 'send' | 'receive', messages: string[], reply?: object): void {
    this.document.operations[`${name}-${channel}`] = {
      action,
      channel: ref('channels', channel),
      messages: messages.map((message) => ref('channels', channel, 'messages', message)),
      ...reply && { reply }
    }
  }

  #message (id: string, name: string, { schema, side, summary }: Messages[string]): object {
    const json = jsonSchemaOf(schema, side)
    const message = { name, summary, contentType: 'application/json' }
    if (json === undefined) return message
    const { schemas } = this.document.components
    const place = uniqueId(schemas, id)
    schemas[place] = rooted(json, `#/components/schemas/${place}`) as object
    return { ...message, payload: ref('components', 'schemas', place) }
  }
}

/** Identifiers of AsyncAPI are letters, digits, `-` and `_`. */
function uniqueId (taken: object, name: string): string {
  const id = name.replace(/[^\w-]/g, '_')
  let unique = id
  for (let i = 2; Object.hasOwn(taken, unique); i++) unique = `${id}_${i}`
  return unique
}

function ref (...path: string[]): { $ref: string } {
  return { $ref: `#/${path.join('/')}` }
}
