/** `datasole/contract`: schemas of all messages. Types, checks and documentation are derived from them. */
export { Contract, defineContract } from './define-contract.js'
export type { ContractDefinition, CrdtDefinition, EventSchemas, MethodSchemas } from './define-contract.js'
export { asyncApiOf } from './documents/asyncapi.js'
export type { AsyncApiDocument, AsyncApiInfo } from './documents/asyncapi.js'
export { markdownOf } from './documents/markdown.js'
export type { Issue } from './issues.js'
export { jsonSchema, type } from './schema.js'
export type { JsonSchema, Schema } from './schema.js'
