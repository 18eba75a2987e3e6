import { Component, Suspense, memo, useEffect, useLayoutEffect, useState, useTransition } from 'react'
import { Provider, useChannel, useClient, useConnection, useCrdt, useEvent, useLive, useRpc, useSuspenseLive } from './hooks.js'
import { lab } from './lab.js'

const counted = (name) => { lab.renders[name] = (lab.renders[name] ?? 0) + 1 }

// ---- live

const Whole = memo(() => {
  const { value, status, version, error } = useLive('board')
  counted('whole')
  useEffect(() => { lab.log.push(status) }, [status])
  return <p id='whole'>{`${value?.n} ${value?.title} ${status} ${version} ${error?.code}`}</p>
})

const Part = memo(() => {
  const { value, status, version } = useLive('board', (board) => [board?.title, board?.tags], (last, next) => last.every((part, i) => Object.is(part, next[i])))
  lab.again = useState()[1]
  counted('part')
  useEffect(() => { counted('selection') }, [value])
  return <p id='part'>{`${value[0]} ${status} ${version}`}</p>
})

function Key () {
  const [key, setKey] = useState(null)
  const { value, status, error } = useLive(key, (value) => value?.n ?? 'nothing')
  lab.setKey = setKey
  return <p id='key'>{`${value} ${status} ${error?.code}`}</p>
}

function Connection () {
  const { state, error } = useConnection()
  return <p id='connection'>{`${state} ${error?.code}`}</p>
}

function Live ({ options }) {
  const [isShown, setShown] = useState(true)
  lab.setShown = setShown
  return isShown ? <Provider options={options}><Whole /><Part /><Key /><Connection /></Provider> : <p id='gone' />
}

// ---- a change of route

function Route () {
  const [route, setRoute] = useState('first')
  lab.setRoute = setRoute
  return route === 'none' ? null : <Whole key={route} />
}

const Routes = ({ options }) => <Provider options={options} keepMs={2000}><Route /></Provider>

// ---- calls

function Caller () {
  const [method, setMethod] = useState('answer')
  const rpc = useRpc(method)
  const early = useRpc('answer')
  Object.assign(lab, { rpc, setMethod })
  // before the Provider's own effects
  useEffect(() => { early.call('early') }, [early.call])
  return <><p id='rpc'>{`${rpc.isPending} ${rpc.error?.code} ${JSON.stringify(rpc.data)}`}</p><p id='early'>{early.data}</p></>
}

function Rpc ({ options }) {
  const [isShown, setShown] = useState(true)
  lab.setShown = setShown
  return <Provider options={options}>{isShown ? <Caller /> : <p id='gone' />}</Provider>
}

// ---- events

function Listener () {
  const [heard, setHeard] = useState([])
  const count = heard.length
  // another function in each render
  useEvent('tick', ({ data }) => {
    lab.log.push([data, count])
    setHeard((heard) => [...heard, data])
  })
  return <p id='heard'>{count}</p>
}

const Events = ({ options }) => <Provider options={options}><Listener /><Connection /></Provider>

// ---- what clients write

function Writer () {
  const notes = useChannel('notes')
  const likes = useCrdt('likes', 'pn-counter')
  const prefs = useCrdt('prefs', 'lww-map')
  const refused = useChannel('board')
  Object.assign(lab, { notes, likes, prefs, refused })
  return (
    <>
      <p id='notes'>{`${notes.value?.join(',')} ${notes.status} ${notes.isPending}`}</p>
      <p id='likes'>{`${likes.value} ${likes.isSynced} ${likes.isPending} ${likes.error?.code}`}</p>
      <p id='prefs'>{JSON.stringify(prefs.value)}</p>
    </>
  )
}

const Written = ({ options }) => <Provider options={options}><Writer /></Provider>

// ---- suspense

function Fallback () {
  counted('fallback')
  return <p id='fallback' />
}

class Boundary extends Component {
  state = {}
  static getDerivedStateFromError (error) { return { error } }
  render () { return this.state.error === undefined ? this.props.children : <p id='boundary'>{this.state.error.code}</p> }
}

function Suspended ({ name }) {
  const { value, status } = useSuspenseLive(name, (value) => value?.n)
  useEffect(() => { lab.log.push(status) }, [status])
  return <p id={name}>{`${value} ${status}`}</p>
}

const Suspending = ({ options }) => (
  <Provider options={options}>
    <Suspense fallback={<Fallback />}><Suspended name='later' /></Suspense>
    <Boundary><Suspense fallback={<i>denied?</i>}><Suspended name='secret' /></Suspense></Boundary>
  </Provider>
)

// ---- tearing

function Slow ({ index }) {
  const { value } = useLive('counter', (value) => value?.n)
  const until = performance.now() + 2
  while (performance.now() < until);
  return <b>{`${value} `}</b>
}

function Tearing () {
  const [round, setRound] = useState(0)
  const [isPending, startTransition] = useTransition()
  const { value } = useLive('counter', (value) => value?.n)
  lab.next = () => { startTransition(() => { setRound((round) => round + 1) }) }
  useLayoutEffect(() => {
    const shown = new Set(Array.from(document.querySelectorAll('b'), ({ textContent }) => textContent))
    lab.log.push(shown.size)
  })
  return <><p id='round'>{`${round} ${value} ${isPending}`}</p>{Array.from({ length: 20 }, (_, i) => <Slow key={`${round} ${i}`} index={i} />)}</>
}

const Torn = ({ options }) => <Provider options={options}><Tearing /></Provider>

// ---- a client of the application's

function Mine () {
  lab.same = useClient() === lab.client
  return null
}

const Own = ({ client }) => <Provider client={client}><Provider keepMs={0}><Mine /></Provider><Whole /><Connection /></Provider>

export const cases = { live: Live, routes: Routes, rpc: Rpc, events: Events, written: Written, suspending: Suspending, torn: Torn, own: Own }
