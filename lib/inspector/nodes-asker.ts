import type { Core } from '../server/core.js'
import type { ToldByNode } from './merge.js'
import type { Ask, Told } from './views.js'

/** The plugin name for requests between nodes. */
export const PLUGIN = 'datasole/inspector'

/** Timeout in ms for a node's answer. */
const TIMEOUT = 900

/** The answers, and the nodes that did not answer in time. */
export interface AllTold { told: ToldByNode, missing: string[] }

/** Asks every node, this one included. @throws DatasoleError `BUSY` */
export async function askNodes (core: Core, asked: Ask): Promise<AllTold> {
  const { byNode, missing } = await core.cluster.ask({ kind: 'plugin', plugin: PLUGIN, asked }, TIMEOUT)
  return { told: new Map(Array.from(byNode, ([node, { answered }]) => [node, answered as Told | undefined])), missing }
}
