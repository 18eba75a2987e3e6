import type { Contract } from '../../contract/define-contract.js'

/**
 * The reason to refuse an upgrade if the server does not accept the client's version of the contract. Undefined if it
 * accepts the version, or the client names none.
 * @param url of the upgrade; the client's version is its query parameter `contract`
 */
export function versionRefusal (contract: Contract | undefined, url: string): string | undefined {
  const query = url.indexOf('?')
  if (contract?.version === undefined || query < 0) return undefined
  const named = new URLSearchParams(url.slice(query)).get('contract')
  if (named === null || contract.isAccepted(/^\d{1,9}$/.test(named) ? Number(named) : NaN)) return undefined
  return `contract version ${named.slice(0, 20)} is not accepted: ${contract.accepts}`
}
