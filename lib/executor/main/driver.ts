import type { Worker } from 'node:worker_threads'
import { DatasoleError } from '../../protocol/errors.js'

/** The part of the package piscina that datasole uses. */
export interface Driver {
  Piscina: new (options: object) => ThreadOwner
}

/** A Piscina pool with one thread. */
export interface ThreadOwner {
  readonly threads: Worker[]
  run (task: unknown, options: object): Promise<unknown>
  destroy (): Promise<void>
  on (event: 'error', listener: (error: Error) => void): unknown
}

/** Imports piscina. @throws DatasoleError `DRIVER_MISSING` */
export async function loadDriver (): Promise<Driver> {
  try {
    return await import('piscina') as unknown as Driver
  } catch (cause) {
    throw new DatasoleError('DRIVER_MISSING', 'the executor models "thread" and "thread-pool" need the package piscina: npm install piscina', { cause })
  }
}
