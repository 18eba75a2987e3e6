import { DatasoleClient } from 'datasole/client'
import { bindYjs } from 'datasole/client/yjs'
import { bindAwareness } from 'datasole/client/yjs-awareness'
import { Awareness } from 'y-protocols/awareness'
import * as Y from 'yjs'
import { bindTextarea } from './textarea.js'

const connection = document.querySelector('#connection')
const people = document.querySelector('#people')
const area = document.querySelector('textarea')

const client = new DatasoleClient()
client.onConnectionState((state) => { connection.textContent = connection.dataset.state = state })
client.connect().catch((error) => { connection.textContent = error.message })

const doc = new Y.Doc()
const text = doc.getText('text')
const { synced } = bindYjs(client, 'text', doc)
bindTextarea(area, text)
synced.then(() => { area.disabled = false })

const awareness = new Awareness(doc)
const leave = bindAwareness(client, 'text', awareness)
awareness.setLocalStateField('name', `Guest ${doc.clientID % 1000}`)
document.addEventListener('selectionchange', () => { awareness.setLocalStateField('cursor', area.selectionEnd) })
awareness.on('change', () => {
  people.textContent = Array.from(awareness.getStates(), ([id, { name, cursor = 0 }]) => `${name}${id === doc.clientID ? ' (you)' : ''} at ${cursor}`).sort().join(', ')
})
document.defaultView.addEventListener('pagehide', leave)
