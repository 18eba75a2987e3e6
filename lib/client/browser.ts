import { DatasoleClient, DatasoleError, RpcError } from './client.js'

/** The entry of the bundle for script tags. It defines the global `Datasole`. */
Object.assign(globalThis, { Datasole: { DatasoleClient, DatasoleError, RpcError } })
