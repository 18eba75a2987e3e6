import type { chatContract } from './chat-contract.js'

/** The contract of the examples: the chat, whose schemas are checked, and the rest. */
export type AppContract = typeof chatContract & Rest

interface Rest {
  rpc: {
    factorize: { params: { n: number }, result: { factors: number[] } }
    echo: { params: { text: string }, result: { text: string } }
    time: { params: undefined, result: { now: string } }
  }
  state: {
    host: Host
    /** each connection has its own */
    form: Form
    board: Board
  }
}

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
