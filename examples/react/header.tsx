import { useChannel, useClient, useConnection, useLive, useRpc } from './hooks.ts'

const LABELS = { connecting: 'Connecting…', connected: 'Live', reconnecting: 'Offline: changes are kept', disconnected: 'Disconnected' }

/** Shows the connected people, and the state of the connection. */
export function Header () {
  const { connectionId } = useClient()
  const { state } = useConnection()
  const { value: people = {} } = useLive('people')
  const { isPending } = useChannel('cards')
  const rename = useRpc('rename')
  const me = connectionId === undefined ? undefined : people[connectionId]

  const ask = (): void => {
    const name = window.prompt('Your name', me?.name)?.trim()
    if (name) rename.call({ name })
  }

  return (
    <header>
      <h1>Board</h1>
      <p className='connection' data-state={state}>{isPending && state === 'connected' ? 'Saving…' : LABELS[state]}</p>
      <ul className='people'>
        {Object.entries(people).map(([id, { name, hue }]) => (
          <li key={id} style={{ '--hue': hue } as object} title={id === connectionId ? `${name} (you)` : name}>
            {id === connectionId
              ? <button type='button' onClick={ask} aria-label='Change your name'>{name.slice(0, 2)}</button>
              : name.slice(0, 2)}
          </li>
        ))}
      </ul>
      {rename.error === undefined ? null : <p role='alert'>{rename.error.message}</p>}
    </header>
  )
}
