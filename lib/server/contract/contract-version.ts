import type { Contract } from '../../contract/define-contract.js'

/**
 * Why the client of an upgrade cannot be served: its contract is of a version that the server does not accept.
 * Undefined where it can: a client that names no version is let in.
 * @param url of the upgrade; the client's version is its query parameter `contract`
 */
export function versionRefusal (contract: Contract | undefined, url: string): string | undefined {
  const query = url.indexOf('?')
  if (contract?.version === undefined || query < 0) return undefined
  const named = new URLSearchParams(url.slice(query)).get('contract')
  if (named === null || contract.isAccepted(/^\d{1,9}$/.test(named) ? Number(named) : NaN)) return undefined
  return `contract version ${named.slice(0, 20)} is not accepted: ${contract.accepts}`
}
