import type { ConnectionContext } from '../server/context/connection-context.js'
import type { Core } from '../server/core.js'
import type { BackendHealth, MetricsSnapshot } from '../server/metrics/metrics.js'
import { Sessions } from '../server/sessions/sessions.js'
import { ConnectionSamples } from './connection-samples.js'
import { FrameTails } from './frame-tails.js'
import { KeySamples } from './key-samples.js'
import { LatencyRecorder } from './latency-recorder.js'
import { ProcessLoad } from './process-load.js'
import { type Ask, FRESH, MAX_ROWS, type NodeAnswer, type Rates } from './views.js'

/** Time in ms after the last request at which measuring stops. Tables are requested every 2 s. */
const LEASE = 5000
/** Interval in ms between two requests to the backends. */
const HEALTH = 5000

/** The measurements that run while there are viewers. */
class Watch {
  readonly recorder = new LatencyRecorder()
  readonly load = new ProcessLoad()
  readonly tails: FrameTails
  readonly connections: ConnectionSamples
  readonly keys: KeySamples
  readonly #stopRecording: () => void
  readonly #core: Core
  #stopTap: (() => void) | undefined
  #before: MetricsSnapshot
  #sampledAt = -Infinity
  #askedHealthAt = -Infinity
  #backends: BackendHealth[] | undefined
  #overview: NonNullable<NodeAnswer['overview']> | undefined
  askedAt = performance.now()

  constructor (core: Core) {
    this.#core = core
    this.#before = core.metrics.snapshot()
    this.connections = new ConnectionSamples(core)
    this.keys = new KeySamples(core)
    this.tails = new FrameTails((id) => this.connections.userOf(id), (key) => this.keys.numbersOf(key))
    this.#stopRecording = core.metrics.record(this.recorder)
  }

  stop (): void {
    this.#stopRecording()
    this.#stopTap?.()
    this.load.stop()
  }

  expireTails (): void {
    this.tails.expire()
    if (this.tails.size > 0) return
    this.#stopTap?.()
    this.#stopTap = undefined
  }

  tell ({ overview, connections, keys, methods, tail, connection, key }: Ask): NodeAnswer {
    if (tail !== undefined) this.#stopTap ??= this.#core.metrics.watch(this.tails)
    return {
      ...overview !== undefined && { overview: this.#sample() },
      ...connections !== undefined && { connections: connections.map((filter) => this.connections.view(filter)), closed: this.connections.closed },
      ...keys !== undefined && { keys: keys.map((filter) => this.keys.view(filter)) },
      ...methods !== undefined && { methods: this.#sampleMethods() },
      ...tail !== undefined && { tail: this.tails.ask(tail.target, tail.cursors[this.#core.cluster.nodes()[0]!.node] ?? 0) },
      ...connection !== undefined && { connection: this.connections.detail(connection) },
      ...key !== undefined && { key: this.keys.detail(key) }
    }
  }

  #sampleMethods (): NonNullable<NodeAnswer['methods']> {
    const scopes = new Map(Array.from(this.#core.rpc.methods, ({ name, scope }) => [name, scope.name]))
    const samples = this.recorder.sample(scopes)
    return { since: this.recorder.since, count: samples.length, rows: samples.slice(0, MAX_ROWS) }
  }

  #sample (): NonNullable<NodeAnswer['overview']> {
    const now = performance.now()
    const elapsed = now - this.#sampledAt
    if (this.#overview !== undefined && elapsed < FRESH) return this.#overview
    const seconds = elapsed / 1000
    this.#sampledAt = now
    const snapshot = this.#core.metrics.snapshot()
    this.#overview = {
      connections: snapshot.connections,
      users: this.#core.hub.users,
      subscriptions: snapshot.subscriptions,
      bufferedBytes: snapshot.bufferedBytes,
      keys: this.keys.count,
      sessions: this.#core.parts.reduce((sum, part) => sum + (part instanceof Sessions ? part.size : 0), 0),
      rates: ratesOf(this.#before, snapshot, seconds),
      commit: this.recorder.commit.take(),
      fanout: this.recorder.fanout.take(),
      refusals: snapshot.refusals,
      executor: snapshot.executor,
      backends: this.#backends,
      ...this.load.take()
    }
    this.#before = snapshot
    this.#askHealth(now)
    return this.#overview
  }

  /** Asks the backends for their health. The next sample has the answer. */
  #askHealth (now: number): void {
    if (now - this.#askedHealthAt < HEALTH) return
    this.#askedHealthAt = now
    this.#core.metrics.backends(HEALTH / 2).then((backends) => { this.#backends = backends }, () => { this.#backends = undefined })
  }
}

const refusedOf = ({ refusals = {} }: MetricsSnapshot): number => Object.values(refusals).flatMap((reasons) => Object.values(reasons)).reduce((sum, count) => sum + count, 0)

function ratesOf (before: MetricsSnapshot, now: MetricsSnapshot, seconds: number): Rates {
  const rate = (name: 'messagesIn' | 'messagesOut' | 'bytesIn' | 'bytesOut' | 'rpcCalls' | 'rpcErrors' | 'eventsIn' | 'commits' | 'pushes'): number => Math.round((now[name] - before[name]) / seconds * 10) / 10
  return {
    messagesIn: rate('messagesIn'),
    messagesOut: rate('messagesOut'),
    bytesIn: rate('bytesIn'),
    bytesOut: rate('bytesOut'),
    calls: rate('rpcCalls'),
    errors: rate('rpcErrors'),
    events: rate('eventsIn'),
    commits: rate('commits'),
    pushes: rate('pushes'),
    refused: Math.round((refusedOf(now) - refusedOf(before)) / seconds * 10) / 10
  }
}

/**
 * Answers requests of inspectors on this and other nodes. Measurements and their timer run only from the first request
 * until 5 s after the last one.
 */
export class NodeInspector {
  readonly #core: Core
  #watch: Watch | undefined
  #timer: NodeJS.Timeout | undefined

  constructor (core: Core) {
    this.#core = core
    core.root.add('onDisconnect', (context, code) => { this.#ended(context, code) })
  }

  get isWatching (): boolean { return this.#watch !== undefined }

  /** Answers for this node. */
  tell (ask: Ask): NodeAnswer {
    const watch = (this.#watch ??= new Watch(this.#core))
    watch.askedAt = performance.now()
    this.#timer ??= setInterval(() => { this.#expire() }, LEASE / 5).unref()
    try {
      return watch.tell(ask)
    } catch (error) {
      this.#core.log.error({ err: error }, 'the inspector could not sample this node')
      return {}
    }
  }

  stop (): void {
    clearInterval(this.#timer)
    this.#timer = undefined
    this.#watch?.stop()
    this.#watch = undefined
  }

  #expire (): void {
    this.#watch?.expireTails()
    if (this.#watch !== undefined && performance.now() - this.#watch.askedAt > LEASE) this.stop()
  }

  #ended (context: ConnectionContext, code: number): void {
    this.#watch?.connections.ended(context, code)
  }
}
