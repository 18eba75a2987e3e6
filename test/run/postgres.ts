import { readdir } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { PostgresServer } from '../helpers/postgres-server.js'
import { type Need, onPath } from './need.js'

/** Where Debian keeps one folder for each version. */
const VERSIONS = '/usr/lib/postgresql'

/** One that all tests share, on a port of its own; tests that break theirs start their own with `POSTGRES_BIN`. */
export const postgres: Need = {
  name: 'Postgres',
  variable: 'POSTGRES_SERVER',
  candidates: async () => {
    const versions = await readdir(VERSIONS).catch(() => []) // there is none
    return [...await onPath('postgres'), ...versions.sort().reverse().map((version) => join(VERSIONS, version, 'bin', 'postgres'))]
  },
  versionArgs: ['--version'],
  debianPackage: 'postgresql',
  advice: 'Set POSTGRES_SERVER to a postgres program (13 or newer) that has initdb beside it; or put both on the PATH; or, on Debian, run the tests as root: they install it by apt-get.',
  start: async (program) => {
    const folder = dirname(program)
    const server = await PostgresServer.start({ folder })
    return { env: { POSTGRES_BIN: folder, POSTGRES_URL: server.url }, stop: () => server.close() }
  }
}
