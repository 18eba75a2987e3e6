/** What the example's server and its clients have in common. */
export interface AppContract {
  rpc: {
    factorize: { params: { n: number }, result: { factors: number[] } }
    echo: { params: { text: string }, result: { text: string } }
    join: { params: { name: string, room: string }, result: { room: string } }
  }
  events: {
    /** client → server */
    say: { text: string }
    /** server → the clients of a room */
    message: { name: string, text: string }
  }
  state: {
    host: Host
    /** by connection id */
    people: Record<string, { name: string, room: string }>
  }
}

export interface Host {
  name: string
  /** share of time that each core was busy, 0 to 1 */
  cores: number[]
  /** bytes */
  memory: { used: number, total: number }
  /** runnable processes, averaged over 1, 5 and 15 minutes */
  load: number[]
  /** ms: how late the event loop was in the last second, at the most */
  lag: number
  connections: number
  /** per second, both directions */
  messages: number
  /** sent per second, to all clients together */
  bytes: number
}
