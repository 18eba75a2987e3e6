import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'

/** A free port, and room for all the connections of a storm. */
export function listen (http: Server): Promise<number> {
  return new Promise((resolve) => { http.listen(0, '127.0.0.1', 10_000, () => { resolve((http.address() as AddressInfo).port) }) })
}
