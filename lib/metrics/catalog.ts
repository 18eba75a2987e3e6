import type { BackendHealth, ExecutorMetrics, MetricsSnapshot } from '../server/metrics/metrics.js'
import type { DurationName } from '../server/metrics/recorder.js'

/** A value of a metric, with its labels. */
export interface Sample { labels: Record<string, string>, value: number }

/** A metric that is read on demand. */
export interface MetricInfo {
  readonly name: string
  readonly type: 'counter' | 'gauge'
  readonly help: string
  /** The unit for OpenTelemetry, in UCUM notation. */
  readonly unit: string
  readonly labels: readonly string[]
  read (snapshot: MetricsSnapshot): Sample[]
}

/** A histogram of durations in seconds. */
export interface HistogramInfo {
  readonly name: string
  readonly duration: DurationName
  readonly help: string
  readonly label: string
}

const MS = 1000

const one = (value: number): Sample[] => [{ labels: {}, value }]

function metric (type: MetricInfo['type'], name: string, unit: string, help: string, read: (snapshot: MetricsSnapshot) => number): MetricInfo {
  return { type, name, unit, help, labels: [], read: (snapshot) => one(read(snapshot)) }
}

/** A metric of worker threads. Without an executor it has no sample. */
function ofThreads (type: MetricInfo['type'], name: string, unit: string, help: string, read: (executor: ExecutorMetrics) => number): MetricInfo {
  return { type, name, unit, help, labels: [], read: ({ executor }) => executor === undefined ? [] : one(read(executor)) }
}

function refusals (place: 'upgrade' | 'rpc' | 'frame' | 'close', name: string, unit: string, help: string): MetricInfo {
  return {
    type: 'counter',
    name,
    unit,
    help,
    labels: ['reason'],
    read: ({ refusals = {} }) => Object.entries(refusals[place] ?? {}).map(([reason, value]) => ({ labels: { reason }, value }))
  }
}

/** The metrics of a snapshot, without the prefix of their names. */
export const METRICS: readonly MetricInfo[] = [
  metric('gauge', 'connections', '{connection}', 'Open connections.', ({ connections }) => connections),
  metric('gauge', 'subscriptions', '{subscription}', 'Subscriptions of all connections.', ({ subscriptions }) => subscriptions),
  metric('gauge', 'topics', '{topic}', 'Users and tags whose broadcasts the node subscribes to.', ({ topics }) => topics),
  metric('gauge', 'buffered_bytes', 'By', 'Bytes that are buffered for connections.', ({ bufferedBytes }) => bufferedBytes),
  metric('gauge', 'uptime_seconds', 's', 'Seconds since the server was constructed.', ({ uptime }) => uptime),
  ofThreads('gauge', 'worker_threads', '{thread}', 'Worker threads that run or start.', ({ threads }) => threads),
  ofThreads('gauge', 'worker_queued_tasks', '{task}', 'Calls and events that wait for worker threads or run in them.', ({ queued }) => queued),
  ofThreads('gauge', 'worker_connections', '{connection}', 'Connections that are assigned to a worker thread.', ({ assigned }) => assigned),
  ofThreads('gauge', 'worker_utilization_ratio', '1', 'Mean share of time that worker threads are busy, 0 to 1.', ({ utilization }) => utilization),
  metric('counter', 'messages_received_total', '{message}', 'Messages from clients.', ({ messagesIn }) => messagesIn),
  metric('counter', 'messages_sent_total', '{message}', 'Messages to clients, one per receiver.', ({ messagesOut }) => messagesOut),
  metric('counter', 'received_bytes_total', 'By', 'Bytes of messages from clients, WebSocket headers included.', ({ bytesIn }) => bytesIn),
  metric('counter', 'sent_bytes_total', 'By', 'Bytes of messages to clients, WebSocket headers included.', ({ bytesOut }) => bytesOut),
  metric('counter', 'rpc_calls_total', '{call}', 'Calls from clients, refused ones included.', ({ rpcCalls }) => rpcCalls),
  refusals('rpc', 'rpc_errors_total', '{call}', 'Calls that got an error as answer.'),
  metric('counter', 'events_received_total', '{event}', 'Events from clients.', ({ eventsIn }) => eventsIn),
  {
    type: 'counter',
    name: 'events_dropped_total',
    unit: '{event}',
    help: 'Events from clients that reached no handler.',
    labels: ['reason'],
    read: ({ eventsDropped, eventsUnhandled }) => [{ labels: { reason: 'NAME_TOO_LONG' }, value: eventsDropped }, { labels: { reason: 'UNHANDLED' }, value: eventsUnhandled }]
  },
  metric('counter', 'state_patches_total', '{frame}', 'Patch frames sent, one per receiver.', ({ statePatches }) => statePatches),
  metric('counter', 'state_snapshots_total', '{frame}', 'Snapshot frames sent, one per receiver.', ({ stateSnapshots }) => stateSnapshots),
  metric('counter', 'state_oversized_total', '{frame}', 'Updates over 1 MiB that version 1 clients did not get.', ({ stateOversized }) => stateOversized),
  metric('counter', 'node_messages_received_total', '{message}', 'Messages from other nodes, without commits.', ({ nodeMessages }) => nodeMessages),
  metric('counter', 'commits_total', '{commit}', 'Commits that the backend accepted.', ({ commits }) => commits),
  metric('counter', 'commit_conflicts_total', '{commit}', 'Commits that lost to a commit of another node, and were retried.', ({ commitConflicts }) => commitConflicts),
  metric('counter', 'commit_failures_total', '{commit}', 'Commits that the backend did not answer in time.', ({ commitFailures }) => commitFailures),
  metric('counter', 'pushes_total', '{push}', 'Changes that clients pushed to channels, refused ones included.', ({ pushes }) => pushes),
  metric('counter', 'pushes_refused_total', '{push}', 'Pushes that were refused.', ({ pushesRefused }) => pushesRefused),
  refusals('frame', 'error_frames_total', '{frame}', 'ERROR frames sent: refused events, subscriptions, pushes and bad frames.'),
  metric('counter', 'bad_frames_total', '{frame}', 'Frames that did not decode.', ({ badFrames }) => badFrames),
  metric('counter', 'rate_limited_total', '{frame}', 'Frames refused by the rate limit, or because too many frames waited for it.', ({ rateLimited }) => rateLimited),
  metric('counter', 'rate_limit_fallbacks_total', '{frame}', 'Frames decided by rateLimit.onBackendError because the shared limit gave no answer.', ({ rateLimitFallbacks }) => rateLimitFallbacks),
  refusals('upgrade', 'upgrades_refused_total', '{upgrade}', 'Upgrades that were refused.'),
  refusals('close', 'closes_total', '{connection}', 'Connections that the server closed.'),
  metric('counter', 'slow_consumers_total', '{connection}', 'Connections closed because the client read too slowly.', ({ slowConsumers }) => slowConsumers),
  ofThreads('counter', 'worker_assignments_total', '{connection}', 'Assignments of a connection to a worker thread.', ({ assignments }) => assignments),
  ofThreads('counter', 'worker_restarts_total', '{thread}', 'Worker threads that were lost.', ({ restarts }) => restarts),
  ofThreads('counter', 'worker_tasks_total', '{task}', 'Calls and events that worker threads have started.', ({ tasks }) => tasks),
  ofThreads('counter', 'worker_wait_seconds_total', 's', 'Seconds that all tasks together waited for a worker thread.', ({ waitMs }) => waitMs / MS),
  ofThreads('counter', 'worker_run_seconds_total', 's', 'Seconds that all tasks together ran in worker threads.', ({ runMs }) => runMs / MS)
]

/** A metric of the backends, which are asked on demand. */
export type BackendMetric = Omit<MetricInfo, 'read'> & { read (backends: BackendHealth[]): Sample[] }

export const BACKEND_METRICS: readonly BackendMetric[] = [
  {
    type: 'gauge',
    name: 'backend_up',
    unit: '', // with the unit `1`, OpenTelemetry exporters would add `_ratio` to the name
    help: '1 if the backend answers, 0 if not.',
    labels: ['scope'],
    read: (backends) => backends.map(({ scope, ready }) => ({ labels: { scope }, value: ready ? 1 : 0 }))
  },
  {
    type: 'gauge',
    name: 'backend_lag_seconds',
    unit: 's',
    help: 'Seconds that a message takes through the backend and back. Absent while no message comes back.',
    labels: ['scope'],
    read: (backends) => backends.flatMap(({ scope, lagMs }) => lagMs === undefined ? [] : [{ labels: { scope }, value: lagMs / MS }])
  }
]

export const HISTOGRAMS: readonly HistogramInfo[] = [
  { name: 'rpc_duration_seconds', duration: 'rpc', label: 'method', help: 'Seconds from an admitted call to its answer.' },
  { name: 'event_duration_seconds', duration: 'event', label: 'event', help: 'Seconds that an event handler ran on the main thread.' },
  { name: 'queue_wait_seconds', duration: 'queue', label: 'queue', help: 'Seconds that frames waited for a shared rate limit, writes for their commit, and tasks for a worker thread.' },
  { name: 'commit_duration_seconds', duration: 'commit', label: 'store', help: 'Seconds that the backend took for a commit.' },
  { name: 'fanout_duration_seconds', duration: 'fanout', label: 'kind', help: 'Seconds from a broadcast or commit until it was written to the sockets of all receivers.' }
]

/** Upper bounds of the buckets in seconds, from a fast local call to a call that times out. */
export const BOUNDS: readonly number[] = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]
