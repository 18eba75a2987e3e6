import { DatasoleError } from '../protocol/errors.js'
import type { Core } from '../server/core.js'
import { registerMethods } from './inspector-methods.js'
import { LiveViews, viewOf } from './live-views.js'
import { NodeInspector } from './node-inspector.js'
import { PLUGIN } from './nodes-asker.js'

/**
 * The inspector of a server. Its page is a client of a separate server, so that the inspected server neither counts nor
 * limits viewers.
 */
export class Inspector {
  readonly node: NodeInspector
  readonly views: LiveViews
  readonly #inner: Core

  /**
   * @param outer the inspected server
   * @param inner the page's server, with a memory backend
   * @throws DatasoleError `DUPLICATE_REGISTRATION`
   */
  constructor (outer: Core, inner: Core) {
    this.node = new NodeInspector(outer)
    this.views = new LiveViews(outer, inner)
    this.#inner = inner
    outer.cluster.answerBy(PLUGIN, (asked) => this.node.tell(asked as never))
    inner.metrics.hide()
    inner.root.add('preSubscribe', (_ctx, { key }) => {
      if (viewOf(key) === undefined) throw new DatasoleError('UNKNOWN_VIEW', 'the inspector has no such view')
      this.views.wake()
    })
    registerMethods(outer, inner)
  }

  /** Starts the inner server. It stops its cluster, whose timer would run even without viewers. */
  async start (): Promise<void> {
    await this.#inner.start()
    this.#inner.cluster.stop()
  }

  /** Called before the server stops. */
  stop (): void {
    this.views.stop()
    this.node.stop()
  }
}
