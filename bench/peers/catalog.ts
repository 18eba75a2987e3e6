/** The peers, in the order of the tables, and the packages whose versions they are. */
export const peers: Record<string, { title: string, package: string }> = {
  datasole: { title: 'datasole', package: 'datasole' },
  ws: { title: 'ws', package: 'ws' },
  'ws-batch': { title: 'ws, batched', package: 'ws' },
  'socket-io': { title: 'Socket.IO', package: 'socket.io' },
  socketcluster: { title: 'SocketCluster', package: 'socketcluster-server' },
  'rpc-websockets': { title: 'rpc-websockets', package: 'rpc-websockets' },
  colyseus: { title: 'Colyseus', package: '@colyseus/core' },
  bun: { title: 'Bun', package: 'bun' }
}

export interface Scenario {
  title: string
  /** A file of `scenarios/`. */
  file: string
  /** Which of its variants; '' where it has one. */
  variant: string
  /** Peers that lack the feature. */
  without?: string[]
  /** Whether it takes two servers and a Redis. */
  isCluster?: boolean
  /** Whether Socket.IO keeps what its clients miss. */
  recovery?: boolean
}

/** By name, as `--only` takes them: a name, or the part of it before the dash. */
export const scenarios: Record<string, Scenario> = {
  'fanout-paced': { title: 'Fan-out of 97 B to 1,000 connections, 20 per second', file: 'fanout', variant: 'paced' },
  'fanout-flood': { title: 'Fan-out of 97 B to 1,000 connections, back to back', file: 'fanout', variant: 'flood' },
  'fanout-large': { title: 'Fan-out of 8 KB to 500 connections, back to back', file: 'fanout', variant: 'large' },
  echo: { title: 'RPC echo, 50 connections with 16 calls in flight each', file: 'echo', variant: '' },
  'live-200-update': { title: 'Live state of 118 KB, 2 fields change, 200 subscribers, by `update`', file: 'state', variant: '200-update' },
  'live-200-setState': { title: 'The same by `setState`', file: 'state', variant: '200-replace', without: ['colyseus'] },
  'live-1-update': { title: 'Live state of 118 KB, 2 fields change, 1 subscriber, by `update`', file: 'state', variant: '1-update' },
  'live-1-setState': { title: 'The same by `setState`', file: 'state', variant: '1-replace', without: ['colyseus'] },
  connections: { title: 'Idle connections: cost to connect, memory of 3,000', file: 'connections', variant: '' },
  mixed: { title: 'Calls (400 per second) during a fan-out to 1,000 connections (20 per second)', file: 'mixed', variant: '' },
  'storm-reconnect': { title: '5,000 clients reconnect and recover a state of 12 KB', file: 'reconnect', variant: '', recovery: true },
  'storm-join': { title: '2,000 connections subscribe to one key of 1 MB', file: 'late-join', variant: '', without: ['colyseus'] },
  keys: { title: '10,000 keys with one subscriber each', file: 'keys', variant: '', without: ['colyseus'] },
  nodes: { title: 'Two nodes over Redis, bursts of 100 events to 500 clients', file: 'nodes', variant: '', isCluster: true, without: ['socketcluster', 'rpc-websockets', 'colyseus'] }
}
