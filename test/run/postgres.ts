import { readdir } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import pg from 'pg'
import { PostgresServer } from '../helpers/postgres-server.js'
import { type Need, onPath } from './need.js'

/** Where Debian keeps one folder for each version. */
const VERSIONS = '/usr/lib/postgresql'

/** Not the user's default one: a connection string that is not heeded leads elsewhere. */
const DATABASE = 'datasole_test'

/** One that all tests share, on a port of its own; tests that break theirs start their own with `POSTGRES_BIN`. */
export const postgres: Need = {
  name: 'Postgres',
  variable: 'POSTGRES_SERVER',
  candidates: async () => {
    const versions = await readdir(VERSIONS).catch(() => []) // there is none
    return [...await onPath('postgres'), ...versions.sort((a, b) => Number(b) - Number(a)).map((version) => join(VERSIONS, version, 'bin', 'postgres'))]
  },
  provides: ['POSTGRES_BIN', 'POSTGRES_URL'],
  versionArgs: ['--version'],
  debianPackage: 'postgresql',
  advice: 'Set POSTGRES_SERVER to a postgres program (13 or newer) that has initdb beside it; or put both on the PATH; or, on Debian, run the tests as root: they install it by apt-get.',
  start: async (program) => {
    const folder = dirname(program)
    const server = await PostgresServer.start({ folder })
    const url = new URL(DATABASE, server.url).href
    const client = new pg.Client(server.url)
    await client.connect()
    await client.query(`CREATE DATABASE ${DATABASE}`)
    await client.end()
    return { env: { POSTGRES_BIN: folder, POSTGRES_URL: url }, stop: () => server.close() }
  }
}
