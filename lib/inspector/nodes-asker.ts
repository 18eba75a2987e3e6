import type { Core } from '../server/core.js'
import type { AnswersByNode } from './merge.js'
import type { Ask, NodeAnswer } from './views.js'

/** The plugin name for requests between nodes. */
export const PLUGIN = 'datasole/inspector'

/** Timeout in ms for a node's answer. */
const TIMEOUT = 900

/** The answers, and the nodes that did not answer in time. */
export interface NodeAnswers { answers: AnswersByNode, missing: string[] }

/** Asks every node, this one included. @throws DatasoleError `BUSY` */
export async function askNodes (core: Core, asked: Ask): Promise<NodeAnswers> {
  const { byNode, missing } = await core.cluster.ask({ kind: 'plugin', plugin: PLUGIN, asked }, TIMEOUT)
  return { answers: new Map(Array.from(byNode, ([node, { answered }]) => [node, answered as NodeAnswer | undefined])), missing }
}
