import type { chatContract } from './chat-contract.js'

/** The contract of the examples: the chat, whose data is checked by schemas, and types for everything else. */
export type AppContract = typeof chatContract & Rest

interface Rest {
  rpc: {
    factorize: { params: { n: number }, result: { factors: number[] } }
    echo: { params: { text: string }, result: { text: string } }
    time: { params: undefined, result: { now: string } }
  }
  state: {
    host: Host
    /** one value per connection */
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
  /** one per second for the last minute, the newest last */
  samples: Sample[]
}

export interface Sample {
  /** busy share of each core, 0 to 1 */
  cores: number[]
  /** bytes in use */
  memory: number
  /** runnable processes, averaged over 1, 5 and 15 minutes */
  load: number[]
  /** maximum delay of the event loop, in ms */
  lag: number
  connections: number
  /** messages received and sent, per second */
  messages: number
  /** bytes per second, to all clients together */
  sent: number
}
