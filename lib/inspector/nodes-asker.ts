import type { Core } from '../server/core.js'
import type { ToldByNode } from './merge.js'
import type { Ask, Told } from './views.js'

/** The name under which nodes answer each other. */
export const PLUGIN = 'datasole/inspector'

/** ms that a node has to answer. */
const TIMEOUT = 900

/** The answers, and the nodes that gave none. */
export interface AllTold { told: ToldByNode, missing: string[] }

/** Asks every node, this one included. @throws DatasoleError `BUSY` */
export async function askNodes (core: Core, asked: Ask): Promise<AllTold> {
  const { byNode, missing } = await core.cluster.ask({ kind: 'plugin', plugin: PLUGIN, asked }, TIMEOUT)
  return { told: new Map(Array.from(byNode, ([node, { answered }]) => [node, answered as Told | undefined])), missing }
}
