/** What a page finds under the global `Datasole`. */
export { DatasoleClient, DatasoleError, RpcError } from './client.js'
