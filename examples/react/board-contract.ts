import { defineContract } from 'datasole/contract'
import { z } from 'zod'

const column = z.enum(['Ideas', 'Doing', 'Done'])
const card = z.object({ id: z.string().max(40), text: z.string().min(1).max(140), column })
/** A position on the board, as fractions of its width and height. */
const place = z.object({ x: z.number().min(0).max(1), y: z.number().min(0).max(1) })

/** The contract of the board: typed on both sides, and checked on the server. */
export const boardContract = defineContract({
  rpc: {
    /** Changes the caller's name. */
    rename: { params: z.object({ name: z.string().min(1).max(24) }), result: z.undefined() }
  },
  events: {
    cursor: { toServer: place, toClient: place.extend({ id: z.string() }) }
  },
  state: {
    /** A channel that everyone may write. */
    cards: z.array(card).max(60),
    /** The connected people, by connection id. */
    people: z.record(z.string(), z.object({ name: z.string(), hue: z.number() }))
  }
})

export type Card = z.infer<typeof card>
