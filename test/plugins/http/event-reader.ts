import { EventEmitter, once } from 'node:events'
import { type IncomingMessage, get } from 'node:http'
import type { Test } from 'tap'
import { inTime } from '../../helpers/until.js'

export interface ServerSentEvent { event: string, id: string | undefined, data: any }

/** A reader of a stream of events, by the rules of WHATWG HTML section 9.2.6. */
export class EventReader {
  readonly events: ServerSentEvent[] = []
  comments = 0
  retry: number | undefined
  isOver = false
  readonly #news = new EventEmitter().setMaxListeners(0)
  #rest = ''

  constructor (readonly response: IncomingMessage) {
    response.setEncoding('utf8')
    response.on('data', (text: string) => { this.#take(text) })
    response.on('error', () => {}) // a stream that is cut off is over
    response.once('close', () => { this.isOver = true; this.#news.emit('news') })
  }

  get lastId (): string | undefined { return this.events.findLast(({ id }) => id !== undefined)?.id }

  async until (isTrue: (reader: this) => boolean): Promise<void> {
    while (!isTrue(this)) await inTime(once(this.#news, 'news'), () => `an event after which ${isTrue.toString()}; there were ${JSON.stringify(this.events).slice(-500)}`)
  }

  end (): void {
    this.response.destroy()
  }

  #take (text: string): void {
    const blocks = (this.#rest + text).split('\n\n')
    this.#rest = blocks.pop()!
    for (const block of blocks) this.#block(block)
    this.#news.emit('news')
  }

  #block (block: string): void {
    const fields = new Map(block.split('\n').map((line) => {
      const at = line.indexOf(':')
      return [line.slice(0, at), line.slice(at + 1).trimStart()]
    }))
    if (fields.has('')) this.comments++
    if (fields.has('retry')) this.retry = Number(fields.get('retry'))
    const data = fields.get('data')
    if (data !== undefined) this.events.push({ event: fields.get('event') ?? 'message', id: fields.get('id'), data: JSON.parse(data) })
  }
}

/** Follows a key. The request ends with the test. */
export async function follow (t: Pick<Test, 'teardown'>, url: string, headers: Record<string, string> = {}): Promise<EventReader> {
  const request = get(url, { agent: false, headers: { accept: 'text/event-stream', ...headers } })
  t.teardown(() => { request.destroy() })
  request.on('error', () => {}) // whoever cuts it off knows
  const [response] = await inTime(once(request, 'response'), () => url) as [IncomingMessage]
  return new EventReader(response)
}
