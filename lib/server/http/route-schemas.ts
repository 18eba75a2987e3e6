/** The routes of datasole/http as JSON Schema, for documents such as OpenAPI. The server checks requests itself. */

const text = { type: 'string' } as const
const texts = { anyOf: [text, { type: 'array', items: text }] } as const
const integer = { type: 'integer' } as const
const any = { description: 'any JSON value' } as const

const answer = (description: string, properties: object): object => ({ description, type: 'object', properties })

const refusal = (description: string): object => ({
  description,
  type: 'object',
  required: ['statusCode', 'error'],
  properties: {
    statusCode: integer,
    code: { type: 'string', description: 'stable; absent if the server would refuse a WebSocket upgrade for the same reason' },
    error: text,
    issues: { type: 'array', items: answer('a place that a schema refuses', { path: text, message: text }) }
  }
})

/** The refusals that every route may answer with. */
const REFUSALS = {
  400: refusal('The request is malformed.'),
  401: refusal('The auth handler does not accept the request.'),
  403: refusal('A hook or an option does not allow it.'),
  429: refusal('The rate limit is exceeded: try again after Retry-After.'),
  503: refusal('The server is closing or busy, or the backend is away: try again after Retry-After.')
} as const

const key = { type: 'object', required: ['key'], properties: { key: { type: 'string', description: 'the key, percent-encoded' } } } as const

/** Clients of the server, as `connections.list` selects them. */
const selector = {
  connection: { ...texts, description: 'ids of connections' },
  user: { ...texts, description: 'ids of users' },
  tag: { ...texts, description: 'tags' }
} as const

const target = { type: 'object', additionalProperties: false, properties: selector } as const

const operation = {
  type: 'object',
  required: ['op', 'path'],
  properties: { op: { type: 'string', enum: ['add', 'remove', 'replace', 'move', 'copy', 'test'] }, path: text, from: text, value: any }
} as const

const tags = ['datasole']

export const SCHEMAS = {
  read: {
    tags,
    summary: 'Read or follow a key',
    description: 'With `Accept: text/event-stream` the answer is a stream of the events `snapshot`, `patch` and `deleted`.',
    params: key,
    headers: {
      type: 'object',
      properties: {
        'if-none-match': { type: 'string', description: 'the ETag of the value that the client has' },
        prefer: { type: 'string', description: '`wait=N` waits up to N seconds until the ETag of the value differs from If-None-Match' },
        'last-event-id': { type: 'string', description: 'the id of the last event; the stream continues after it' }
      }
    },
    response: {
      200: { description: 'The value.', content: { 'application/json': { schema: any }, 'text/event-stream': { schema: text } } },
      304: { type: 'null', description: 'The client has the value.' },
      404: refusal('The key has no value.'),
      ...REFUSALS
    }
  },
  patch: {
    tags,
    summary: 'Change a key',
    consumes: ['application/json-patch+json'],
    params: key,
    headers: { type: 'object', properties: { 'if-match': { type: 'string', description: 'the ETag of the value that the patch is for' } } },
    body: { type: 'array', items: operation, description: 'a JSON Patch (RFC 6902)' },
    response: {
      204: { type: 'null', description: 'Done. The ETag is that of the new value.' },
      404: refusal('The key takes no patches.'),
      412: refusal('The ETag of the value does not match If-Match.'),
      413: refusal('The patch or the value is too large.'),
      415: refusal('The body has another content type.'),
      422: refusal('The patch does not apply, or the value does not match its schema.'),
      ...REFUSALS
    }
  },
  call: {
    tags,
    summary: 'Call a method',
    description: 'Other numeric codes of the application are 422, too.',
    params: { type: 'object', required: ['method'], properties: { method: text } },
    body: { ...any, description: 'the parameters, any JSON value; no body for none' },
    response: {
      200: answer('The result.', { result: any }),
      '4xx': answer('The call failed. If the request was refused before the call, the body has `statusCode`, and `error` is a text.', { error: { anyOf: [text, answer('why', { code: integer, message: text, data: any })] } }),
      '5xx': answer('As 4xx.', { error: { anyOf: [text, answer('why', { code: integer, message: text, data: any })] } })
    }
  },
  broadcast: {
    tags,
    summary: 'Send an event to clients',
    params: { type: 'object', required: ['event'], properties: { event: text } },
    body: { type: 'object', additionalProperties: false, properties: { data: any, to: target, except: target } },
    response: {
      204: { type: 'null', description: 'The event was sent to the clients of all nodes.' },
      413: refusal('The body is too large.'),
      415: refusal('The body has another content type.'),
      422: refusal('The data does not match the contract.'),
      ...REFUSALS
    }
  },
  connections: {
    tags,
    summary: 'List connections of all nodes',
    querystring: { type: 'object', properties: { ...selector, limit: { type: 'integer', minimum: 1, maximum: 10_000, default: 100 } } },
    response: {
      200: answer('Connections, and the nodes that did not answer.', { count: integer, connections: { type: 'array', items: { type: 'object', additionalProperties: true } }, missing: { type: 'array', items: text } }),
      ...REFUSALS
    }
  },
  disconnect: {
    tags,
    summary: 'Close connections on all nodes',
    querystring: { type: 'object', properties: { ...selector, code: { type: 'integer', description: 'the close code, default 4401' }, reason: text } },
    response: {
      200: answer('How many were closed, by node, and the nodes that did not answer.', { count: integer, nodes: { type: 'object', additionalProperties: integer }, missing: { type: 'array', items: text } }),
      ...REFUSALS
    }
  }
} as const
