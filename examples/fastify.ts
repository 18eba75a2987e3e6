import datasole from 'datasole'
import Fastify from 'fastify'
import { chat } from './chat.js'
import { chatContract } from './chat-contract.js'
import type { AppContract } from './contract.js'
import { onStop } from './stop.js'

declare module 'datasole' {
  interface Register { contract: AppContract }
}

/** The chat in a Fastify application. Its routes read the chat's state and send messages to rooms. */
const fastify = Fastify()
await fastify.register(datasole, { contract: chatContract })
await chat(fastify.ds)

const { fanout, live } = fastify.ds.primitives
fastify.get('/people', async () => await live.getState('people'))
fastify.post<{ Params: { room: string }, Body: string }>('/rooms/:room', async ({ params, body }, reply) => {
  fanout.broadcast('message', { name: 'HTTP', text: body }, { to: { tag: `room:${params.room}` } })
  return await reply.code(204).send()
})

console.log(`Listening at ${await fastify.listen({ port: Number(process.env.PORT ?? 3000) })}`)
onStop(() => fastify.close())
