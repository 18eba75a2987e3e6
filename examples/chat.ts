import type { Datasole } from 'datasole'
import type { Person } from './chat-contract.js'
import type { AppContract } from './contract.js'

/** A chat with presence. Rooms are tags of connections, and the people in them are live state. */
export async function chat (ds: Datasole<AppContract>): Promise<void> {
  const { events, fanout, live } = ds.primitives
  // if processes share a backend, the state may already have people
  await live.update('people', (people) => people ?? {})

  ds.rpc.register('join', async ({ name, room }, { connection }) => {
    const person = { name, room }
    connection.tags.clear()
    connection.tags.add(`room:${room}`)
    connection.set('person', person)
    await live.update('people', (people) => { people![connection.connectionId] = person })
    return person
  })

  events.on('say', ({ data }, connection) => {
    const person = connection?.get<Person>('person')
    if (person === undefined) return
    fanout.broadcast('message', { name: person.name, text: data.text }, { to: { tag: `room:${person.room}` } })
  })

  ds.addHook('onDisconnect', async ({ connectionId }) => {
    await live.update('people', (people) => { delete people![connectionId] })
  })
}
