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
  /** Its rows of the table of all scenarios: a figure, and what it is called there. */
  summary: Record<string, string>
  /** Whether Socket.IO keeps what its clients miss. */
  recovery?: boolean
}

/** By name, as `--only` takes them: a name, or the part of it before the dash. */
export const scenarios: Record<string, Scenario> = {
  'fanout-paced': { title: 'Fan-out of 97 B to 1,000 connections, 20 per second', file: 'fanout', variant: 'paced', summary: { 'server µs/delivery': 'µs per delivery', 'p99 ms': 'delivered, p99 ms', 'bytes/delivery': 'bytes per event' } },
  'fanout-flood': { title: 'Fan-out of 97 B to 1,000 connections, back to back', file: 'fanout', variant: 'flood', summary: { 'server µs/delivery': 'µs per delivery' } },
  'fanout-large': { title: 'Fan-out of 8 KB to 500 connections, back to back', file: 'fanout', variant: 'large', summary: { 'server µs/delivery': 'µs per delivery', 'bytes/delivery': 'bytes per event' } },
  echo: { title: 'RPC echo, 50 connections with 16 calls in flight each', file: 'echo', variant: 'many', summary: { 'server µs/call': 'µs per call' } },
  'echo-single': { title: 'RPC echo, 1 connection with 1 call in flight', file: 'echo', variant: 'single', summary: { 'p50 µs': 'answered, p50 µs', 'p99 µs': 'answered, p99 µs' } },
  'live-200-update': { title: 'Live state of 118 KB, 2 fields change, 200 subscribers, by `update`', file: 'state', variant: '200-update', summary: { 'server µs/update': 'µs per update', 'bytes/update and client': 'bytes per update and client' } },
  'live-200-setState': { title: 'Live state of 118 KB, 2 fields change, 200 subscribers, by `setState`', file: 'state', variant: '200-replace', without: ['colyseus'], summary: { 'server µs/update': 'µs per update' } },
  'live-1-update': { title: 'Live state of 118 KB, 2 fields change, 1 subscriber, by `update`', file: 'state', variant: '1-update', summary: { 'server µs/update': 'µs per update' } },
  'live-1-setState': { title: 'Live state of 118 KB, 2 fields change, 1 subscriber, by `setState`', file: 'state', variant: '1-replace', without: ['colyseus'], summary: { 'server µs/update': 'µs per update' } },
  connections: { title: 'Idle connections: cost to connect, memory of 3,000', file: 'connections', variant: '', summary: { 'server µs/connect': 'µs per connect, server that has just started', 'warm, server µs/connect': 'µs per connect, warm server', 'heap KiB each': 'heap, KiB each' } },
  mixed: { title: 'Calls (400 per second) during a fan-out to 1,000 connections (20 per second)', file: 'mixed', variant: '', summary: { 'idle p99 ms': 'answered without the fan-out, p99 ms', 'p50 ms': 'answered, p50 ms', 'p99 ms': 'answered, p99 ms' } },
  'storm-reconnect': { title: '5,000 clients reconnect and recover a state of 12 KB', file: 'reconnect', variant: '', recovery: true, summary: { 'all back, ms': 'all are back, ms', 'server µs/client': 'µs per client', 'bytes/client': 'bytes per client' } },
  'storm-join': { title: '2,000 connections subscribe to one key of 1 MB', file: 'late-join', variant: '', without: ['colyseus'], summary: { 'all have it, ms': 'all have it, ms', 'server µs/subscriber': 'µs per subscriber', 'rss growth, MiB': 'memory for it, MiB' } },
  keys: { title: '10,000 keys with one subscriber each', file: 'keys', variant: '', without: ['colyseus'], summary: { 'server µs/update': 'µs per update' } },
  nodes: { title: 'Two nodes over Redis, bursts of 100 events to 500 clients', file: 'nodes', variant: '', isCluster: true, without: ['socketcluster', 'rpc-websockets', 'colyseus'], summary: { 'µs/delivery, both nodes': 'µs per delivery, both nodes' } }
}
