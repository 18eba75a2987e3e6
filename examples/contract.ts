/** What the examples' servers and their clients have in common. */
export interface AppContract {
  rpc: {
    factorize: { params: { n: number }, result: { factors: number[] } }
    echo: { params: { text: string }, result: { text: string } }
    time: { params: undefined, result: { now: string } }
    /** Enters a room, and leaves the one before. */
    join: { params: Person, result: Person }
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
    people: Record<string, Person>
    /** each connection has its own */
    form: Form
    board: Board
  }
}

export interface Person { name: string, room: string }

export interface Form { name?: string, comment?: string }

export interface Board { notes: Array<{ by: string, text: string }> }

export interface Host {
  name: string
  /** bytes */
  memory: number
  /** one per second, the newest last, at most a minute of them */
  samples: Sample[]
}

export interface Sample {
  /** share of time that each core was busy, 0 to 1 */
  cores: number[]
  /** bytes in use */
  memory: number
  /** runnable processes, averaged over 1, 5 and 15 minutes */
  load: number[]
  /** ms: how late the event loop was, at the most */
  lag: number
  connections: number
  /** per second, received and sent */
  messages: number
  /** bytes per second, to all clients together */
  sent: number
}
