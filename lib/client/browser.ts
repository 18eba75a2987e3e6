import { DatasoleClient, DatasoleError, RpcError } from './client.js'

/** The entry of the bundle for script tags: the page's global `Datasole`. */
Object.assign(globalThis, { Datasole: { DatasoleClient, DatasoleError, RpcError } })
