import { DatasoleClient } from 'datasole/client'
import { WebSocket } from 'ws' // needed only before Node.js 22, which has a WebSocket
import type { AppContract } from './contract.js'

/** Fills in the form of `board.ts`, adds a note to its board, prints all notes, and disconnects. */
const [name = 'Node', text = `hello from Node.js ${process.version}`] = process.argv.slice(2)
const client = new DatasoleClient<AppContract>({
  url: process.env.URL ?? 'http://localhost:3000',
  webSocket: WebSocket,
  onError: (error) => { console.log(`refused: ${(error as Error).message}`) }
})
const form = client.channel('form')
const board = client.channel('board')

form.set({ name })
form.update((draft) => { draft!.comment = 'typed before there was a connection' })
await client.connect()

board.update((draft) => { draft!.notes.push({ by: name, text }) })
await Promise.all([form.saved(), board.saved()])
for (const note of board.get()?.notes ?? []) console.log(`${note.by}: ${note.text}`)
await client.disconnect()
