import { defineContract } from 'datasole/contract'
import { z } from 'zod'

const word = z.string().max(24).regex(/\S/)
const person = z.object({ name: word, room: word })

/** The contract of the chat: typed on both sides, and checked on the server. */
export const chatContract = defineContract({
  rpc: {
    /** Enters a room, and leaves the previous one. */
    join: { params: person, result: person }
  },
  events: {
    say: { toServer: z.object({ text: z.string().max(500).regex(/\S/) }) },
    /** Sent to the clients of a room. */
    message: { toClient: z.object({ name: z.string(), text: z.string() }) }
  },
  /** The people in the rooms, by connection id. */
  state: { people: z.record(z.string(), person) }
})

export type Person = z.infer<typeof person>
