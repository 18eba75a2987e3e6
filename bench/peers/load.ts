import { once } from 'node:events'
import { connect } from 'node:net'
import { RESULT, Remote } from './control.js'
import { Fleet } from './fleet.js'
import type { Figures, Run } from './measure.js'
import type { Adapter } from './peer.js'
import { RawSocket } from './raw-socket.js'

/** The figures that it prints in the end. */
export type Outcome = { figures: Figures } | { error: string }

/** The request of the main process, as the argument. */
export interface Job { scenario: string, variant: string, peer: string, seconds: number, servers: Array<{ port: number, control: number }> }

// what went wrong is the result, too, in one line
process.on('uncaughtException', ({ message }) => { report({ error: message }) })
process.stdin.on('end', () => { process.exit() }).resume()
const { scenario, variant, peer, seconds, servers } = JSON.parse(process.argv[2]!) as Job
RawSocket.onLost = () => { throw new Error(`${peer} closed a connection`) }
const { protocol } = await import(`./adapters/${peer === 'bun' ? 'ws' : peer}.js`) as Adapter
const remotes = []
for (const { control } of servers) {
  const socket = connect(control, '127.0.0.1')
  await once(socket, 'connect')
  remotes.push(new Remote(socket))
}
const { run } = await import(`./scenarios/${scenario}.js`) as { run: (run: Run) => Promise<Figures> }
const figures = await run({ variant, ms: seconds * 1000, warmUp: Math.max(1000, seconds * 500), protocol, remotes, fleet: new Fleet(protocol, servers.at(-1)!.port) })
report({ figures })

function report (outcome: Outcome): void {
  console.log(RESULT + JSON.stringify(outcome))
  process.exit()
}
