import { DatasoleClient } from 'datasole/client'
import { WebSocket } from 'ws' // needed only before Node.js 22, which has a WebSocket
import type { AppContract } from './contract.js'

/** Joins a room of a chat server in this folder, says a sentence, waits until it comes back, and disconnects. */
const [name = 'Node', room = 'lobby', text = `hello from Node.js ${process.version}`] = process.argv.slice(2)
const client = new DatasoleClient<AppContract>({ url: process.env.URL ?? 'http://localhost:3000', webSocket: WebSocket })
await client.connect()

client.subscribeState('people', (people = {}) => {
  const here = Object.values(people).filter((person) => person.room === room)
  console.log(`in ${room}:`, here.map((person) => person.name).join(', '))
})
client.on('message', ({ data }) => {
  console.log(`${data.name}: ${data.text}`)
  if (data.name === name && data.text === text) void client.disconnect()
})

await client.rpc('join', { name, room })
client.emit('say', { text })
