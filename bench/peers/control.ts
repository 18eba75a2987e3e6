import { type Socket, createServer } from 'node:net'
import { once } from 'node:events'

/** How the load generator tells a server process what to do: lines of JSON over TCP, which Bun has, too. */
export type Command =
  | { do: 'usage' }
  | { do: 'memory' }
  | { do: 'state', key: string, records: number }
  | { do: 'keys', count: number }
  | { do: 'flood', operation: Operation, window: number, ms: number, limit?: number }
  | { do: 'paced', operation: Operation, perSecond: number, ms: number }
  | { do: 'once', operation: Operation }

/** Marks the line with the result of a process, among lines of its log. */
export const RESULT = 'bench:'

export type Operation = 'event' | 'large' | 'update' | 'replace' | 'key'

/** `cpu` in µs, `heap`, `rss` and `peak` in bytes; of a flood how many operations there were; when each of them began. */
export interface Answer { cpu: number, heap: number, rss: number, peak: number, sent: number, times: number[] }

/** ms, the same in all processes of a machine. */
export function now (): number {
  return performance.timeOrigin + performance.now()
}

function onLine (socket: Socket, handle: (line: string) => void): void {
  let text = ''
  socket.setNoDelay(true).setEncoding('utf8').on('data', (part: string) => {
    const lines = (text + part).split('\n')
    text = lines.pop()!
    for (const line of lines) handle(line)
  })
}

/** In the server: commands are answered, and acknowledgements are counted. */
export async function serveControl (run: (command: Command) => Promise<Answer>, onAck: (count: number) => void): Promise<number> {
  const server = createServer((socket) => {
    onLine(socket, (line) => {
      if (line[0] !== '{') return onAck(Number(line))
      void run(JSON.parse(line) as Command).then((answer) => { socket.write(`${JSON.stringify(answer)}\n`) })
    })
    socket.on('error', () => {}) // the load generator ended
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return (server.address() as { port: number }).port
}

/** In the load generator. */
export class Remote {
  readonly #socket: Socket
  readonly #waiting: Array<(answer: Answer) => void> = []
  /** Acknowledged in this turn, 0 where nothing is. */
  #count = 0

  constructor (socket: Socket) {
    this.#socket = socket
    onLine(socket, (line) => { this.#waiting.shift()!(JSON.parse(line) as Answer) })
  }

  /** One command at a time. */
  ask (command: Command): Promise<Answer> {
    this.#socket.write(`${JSON.stringify(command)}\n`)
    return new Promise((resolve) => { this.#waiting.push(resolve) })
  }

  /** Everybody has had so many operations. Several of one turn are one line, so that they cost the server little. */
  ack (count: number): void {
    if (this.#count === 0) {
      setImmediate(() => {
        this.#socket.write(`${this.#count}\n`)
        this.#count = 0
      })
    }
    this.#count = count
  }
}
