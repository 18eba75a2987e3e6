/** The global `Datasole` of a page. */
export { DatasoleClient, DatasoleError, RpcError } from './client.js'
