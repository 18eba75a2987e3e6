import { RedisServer } from '../helpers/redis-server.js'
import { type Need, onPath } from './need.js'

/** One that all tests share, on a port of its own; tests that break theirs start their own with `REDIS_SERVER`. */
export const redis: Need = {
  name: 'Redis',
  variable: 'REDIS_SERVER',
  candidates: () => onPath('redis-server', 'valkey-server'),
  provides: ['REDIS_SERVER', 'REDIS_URL'],
  versionArgs: ['--version'],
  debianPackage: 'redis-server',
  advice: 'Set REDIS_SERVER to a redis-server (6.2 or newer); or put one on the PATH; or, on Debian, run the tests as root: they install it by apt-get.',
  start: async (program) => {
    const server = await RedisServer.start({ program })
    return { env: { REDIS_SERVER: program, REDIS_URL: server.url }, stop: () => server.close() }
  }
}
