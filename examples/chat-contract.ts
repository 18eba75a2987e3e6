import { defineContract } from 'datasole/contract'
import { z } from 'zod'

const word = z.string().max(24).regex(/\S/)
const person = z.object({ name: word, room: word })

/** What the chat and its clients say to each other: typed on both sides, and checked on the server. */
export const chatContract = defineContract({
  rpc: {
    /** Enters a room, and leaves the one before. */
    join: { params: person, result: person }
  },
  events: {
    say: { toServer: z.object({ text: z.string().max(500).regex(/\S/) }) },
    /** To the clients of a room. */
    message: { toClient: z.object({ name: z.string(), text: z.string() }) }
  },
  /** Who is where, by connection id. */
  state: { people: z.record(z.string(), person) }
})

export type Person = z.infer<typeof person>
