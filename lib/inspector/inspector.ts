import { DatasoleError } from '../protocol/errors.js'
import type { Core } from '../server/core.js'
import { registerMethods } from './inspector-methods.js'
import { LiveViews, viewOf } from './live-views.js'
import { NodeInspector } from './node-inspector.js'
import { PLUGIN } from './nodes-asker.js'

/**
 * The inspector of a server. Its page is a client of a server of its own, so that the inspected one neither counts
 * nor limits those who look.
 */
export class Inspector {
  readonly node: NodeInspector
  readonly views: LiveViews
  readonly #inner: Core

  /**
   * @param outer the server that is inspected
   * @param inner the server of the page, on a backend in memory
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

  /** It needs no other node: without this a timer would run while nobody looks. */
  async start (): Promise<void> {
    await this.#inner.start()
    this.#inner.cluster.stop()
  }

  /** Before the server stops. */
  stop (): void {
    this.views.stop()
    this.node.stop()
  }
}
