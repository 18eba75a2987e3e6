import { Suspense } from 'react'
import { Provider, useChannel, useConnection, useCrdt, useLive, useSuspenseLive } from './hooks.js'

function Board () {
  const { value, status, version } = useLive('board')
  const title = useLive('board', (board) => board?.title ?? 'untitled')
  return <p id='board' data-status={status}>{`${title.value} ${value?.n} at ${version}`}</p>
}

function Missing () {
  const { value, status } = useLive('missing')
  const { state } = useConnection()
  const { value: likes } = useCrdt('likes', 'pn-counter')
  return <p id='missing' data-status={status}>{`${value} ${state} ${likes}`}</p>
}

function Notes () {
  const { value } = useChannel('notes')
  return <p id='notes'>{value?.join(', ')}</p>
}

const Suspended = () => <p id='suspended'>{useSuspenseLive('board').value.n}</p>
const Late = () => <p id='late'>{useSuspenseLive('late').value}</p>

/** What is rendered on a server and then hydrated. The value of `late` is known in the browser only. */
export function App ({ options, initial }) {
  return (
    <Provider options={options} initial={initial}>
      <Board />
      <Missing />
      <Notes />
      <Suspense fallback={<i>waiting</i>}><Suspended /></Suspense>
      {initial.late === undefined ? null : <Suspense fallback={<i>waiting</i>}><Late /></Suspense>}
    </Provider>
  )
}
