import { join } from 'node:path'

/** Tests that run with clients of version 2, too: whatever comes in a short form in version 3. */
export const bothVersions = ['fanout', 'live-state', 'live-recovery', 'flow-control', 'channels', 'convergence', 'nodes'].map((name) => join('dist', 'test', 'server', `${name}.test.js`))
