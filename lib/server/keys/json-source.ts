import { compactOperations } from '../../protocol/compact.js'
import type { ChannelInfo, Operation } from '../../protocol/messages.js'
import { Opcode } from '../../protocol/opcodes.js'
import { SharedPayload, encodeCompact, encodeMessage } from '../connection/encoding.js'
import type { Replica } from '../store/replica.js'
import { type KeySource, type SourceHost, answerAll } from './source.js'
import type { Subscription } from './subscription.js'

/** Largest payload (bytes) that clients of version 1 accept. */
export const MAX_V1_PAYLOAD = 1024 * 1024

/** Up to this size (bytes) patches are sent, even if the whole value is smaller. */
const MIN_PATCH = 256

/** Encoded catch-ups that are cached for other subscribers with the same version. */
const MAX_PATCHES = 8

/** Most characters of patches that are sent in compact form. For longer ones it saves too little. */
const MAX_COMPACT = 8192

/** The number of the newest source. Numbers are never reused. */
let lastNumber = 0

/** Clients of version 1 drop the whole frame if one of its paths has such a segment. */
const UNSAFE_IN_V1 = /"path":"(?:[^"\\]|\\.)*\/(?:__proto__|constructor|prototype)["/]/

/** The source of live state. It sends patches if they are smaller than the value, else snapshots. */
export class JsonSource implements KeySource {
  readonly subscriptions = new Set<Subscription>()
  readonly #host: SourceHost
  /** Encoded for the current version: the snapshot, and the patches by the version that they start from. */
  #snapshot: SharedPayload | undefined
  readonly #patches = new Map<number, SharedPayload>()
  readonly number = ++lastNumber
  #isOversizedLogged = false

  /** @param channel the channel of the key, to be announced to subscribers */
  constructor (readonly replica: Replica, host: SourceHost, readonly channel: ChannelInfo | undefined) {
    this.#host = host
  }

  /** The version that clients see. For them, a key that is not live has no value. */
  get #version (): number { return this.replica.live ? this.replica.version : 0 }

  expire (): void {
    this.#snapshot = undefined
    this.#patches.clear()
  }

  publish (from: number): void {
    const { replica, subscriptions } = this
    if (from === -1 || this.channel?.mode === 'snapshot') {
      for (const subscription of subscriptions) subscription.connection.markStale(subscription)
      return
    }
    if (!replica.live) return
    let patches: string | undefined
    let plain: Buffer | undefined
    let compact: Buffer | undefined
    let isUnsafe: boolean | undefined
    for (const subscription of subscriptions) {
      const { connection } = subscription
      if (subscription.version !== from || subscription.epoch !== replica.epoch || connection.isCongested || subscription.asked !== undefined) {
        connection.markStale(subscription)
        continue
      }
      patches ??= replica.patchesSince(subscription)
      if (patches === undefined) return this.publish(-1)
      const isCompact = connection.protocol === 3 && subscription.number === this.number && patches.length <= MAX_COMPACT
      const message = isCompact ? (compact ??= this.#compact(from, patches)) : (plain ??= this.#plain(from, patches))
      const isUnfit = connection.protocol === 1 && (isUnsafe ??= Buffer.byteLength(this.#patchJson(from, patches)) > MAX_V1_PAYLOAD || UNSAFE_IN_V1.test(patches))
      if (isUnfit || !connection.hasRoomFor(message.length)) {
        connection.markStale(subscription)
        continue
      }
      subscription.version = replica.version
      subscription.number = this.number
      this.#host.metrics.statePatches++
      connection.send(message)
    }
  }

  #plain (from: number, patches: string): Buffer {
    return encodeMessage(Opcode.STATE_PATCH, 0, this.#patchJson(from, patches), this.#host.compressionThreshold)
  }

  /** A compact patch, for clients that know the number of the key and have version `from`. */
  #compact (from: number, patches: string): Buffer {
    const operations = this.replica.operationsSince(from) ?? JSON.parse(patches) as Operation[]
    const short = JSON.stringify(compactOperations(operations))
    return encodeCompact(Opcode.PATCH_COMPACT, this.number, this.replica.version - from, short, this.#host.compressionThreshold)
  }

  /**
   * Brings one subscription to the newest version, by patches if they are smaller, else by a snapshot.
   * @returns false if the connection has no room for that yet
   */
  catchUp (subscription: Subscription): boolean {
    const { replica } = this
    const version = this.#version
    const { connection, asked } = subscription
    const isCurrent = subscription.epoch === replica.epoch && subscription.version === version
    if (isCurrent && asked === undefined) return true
    // nothing to send: the client's first message will be a snapshot, once there is a value
    if (connection.protocol === 1 && version === 0 && subscription.version <= 0) return true
    const patch = this.#patchPayload(subscription, version)
    // checked before encoding, because each commit would encode a snapshot that nobody can take
    if (connection.protocol === 1 && patch === undefined && version > 0 && replica.document.size > MAX_V1_PAYLOAD) return this.#oversized(subscription)
    const payload = patch ?? this.#snapshotPayload(version)
    if (connection.protocol === 1 && payload.size > MAX_V1_PAYLOAD) return this.#oversized(subscription)
    return answerAll(subscription, (id) => payload.message(id), () => {
      subscription.epoch = replica.epoch
      subscription.number = this.number
      // a version 1 client needs a snapshot before its next patch
      subscription.version = connection.protocol === 1 && version === 0 ? -1 : version
      if (patch !== undefined) this.#host.metrics.statePatches++
      else this.#host.metrics.stateSnapshots++
    })
  }

  /** The patches from the client's version to the newest one, if they are stored and smaller than the value. */
  #patchPayload (subscription: Subscription, version: number): SharedPayload | undefined {
    const { replica } = this
    const from = subscription.version
    if (version === 0 || from < 0 || subscription.epoch !== replica.epoch) return undefined
    if (this.channel?.mode === 'snapshot' && from !== version) return undefined
    let payload = this.#patches.get(from)
    if (payload === undefined) {
      const patches = replica.patchesSince(subscription)
      if (patches === undefined || patches.length > Math.max(replica.document.size, MIN_PATCH)) return undefined
      payload = new SharedPayload(Opcode.STATE_PATCH, this.#patchJson(from, patches, this.#about), this.#host.compressionThreshold)
      if (this.#patches.size >= MAX_PATCHES) this.#patches.clear()
      this.#patches.set(from, payload)
    }
    return subscription.connection.protocol === 1 && UNSAFE_IN_V1.test(replica.patchesSince(subscription)!) ? undefined : payload
  }

  /** The channel, for answers to SUBSCRIBE. */
  get #about (): string { return this.channel === undefined ? '' : `,"channel":${JSON.stringify(this.channel)}` }

  #patchJson (from: number, patches: string, about = ''): string {
    const { key, epoch, version } = this.replica
    return `{"key":${JSON.stringify(key)},"epoch":${JSON.stringify(epoch)},"from":${from},"version":${version},"n":${this.number},"patches":${patches}${about}}`
  }

  /** The snapshot, encoded once per version for all late subscribers and resyncs. */
  #snapshotPayload (version: number): SharedPayload {
    const { key, epoch, document } = this.replica
    const cached = this.#snapshot
    if (cached !== undefined) return cached
    const data = version === 0 ? '' : `,"data":${JSON.stringify(document.value)}`
    const payload = new SharedPayload(Opcode.STATE_SNAPSHOT, `{"key":${JSON.stringify(key)},"epoch":${JSON.stringify(epoch)},"version":${version},"n":${this.number}${data}${this.#about}}`, this.#host.compressionThreshold)
    this.#snapshot = payload
    return payload
  }

  /** Skips a value that is too large. The subscription stays without a version, so a smaller value is sent whole. */
  #oversized (subscription: Subscription): true {
    subscription.version = -1
    this.#host.metrics.stateOversized++
    if (this.#isOversizedLogged) return true
    this.#isOversizedLogged = true
    this.#host.log.warn({ key: this.replica.key }, 'the value of this key is over 1 MiB, so clients of protocol version 1 get no updates of it')
    return true
  }
}
