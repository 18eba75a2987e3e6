import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { Contract } from '../contract/define-contract.js'
import { memberOf, messageOf } from '../protocol/errors.js'

/**
 * Loads the contract that a module exports, as `contract` or by default.
 * @param file JavaScript or TypeScript; below Node.js 22.18 the package jiti compiles TypeScript
 * @throws Error if the module does not exist, or exports no contract
 */
export async function loadContract (file: string): Promise<Contract> {
  const module = await load(pathToFileURL(resolve(file)).href)
  const own = memberOf(module, 'default')
  for (const found of [memberOf(module, 'contract'), own, memberOf(own, 'contract'), memberOf(own, 'default')]) if (Contract.isContract(found)) return found
  throw new Error(`${file} exports no contract: it needs "export const contract = defineContract({ … })"`)
}

async function load (url: string): Promise<unknown> {
  try {
    return await import(url)
  } catch (error) {
    if (memberOf(error, 'code') !== 'ERR_UNKNOWN_FILE_EXTENSION') throw error
  }
  const { createJiti } = await import('jiti').catch((error: unknown) => {
    throw new Error(`this version of Node.js cannot load TypeScript by itself: install the package jiti, or use Node.js 22.18 or later (${messageOf(error)})`)
  })
  return await createJiti(url).import(url)
}
