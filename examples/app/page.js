/* global Datasole */
import { Chart } from './chart.js'

const $ = (id) => document.getElementById(id)
const client = new Datasole.DatasoleClient({ onError: (error) => notice(error.code === 'RATE_LIMITED' ? 'Not so fast: the server takes five messages in ten seconds.' : error.message) })

client.onConnectionState((state) => {
  $('connection').dataset.state = state
  $('connection').children[1].textContent = state
  document.body.classList.toggle('stale', state !== 'connected')
  // the server does not know this new connection, so join again
  if (state === 'connected' && me !== undefined) join(me).catch((error) => notice(error.message))
})

// ---- live state of the machine

/** For each figure: the plotted value, the minimum ceiling, and the shown number with its unit. */
const figures = {
  memory: { of: (sample) => sample.memory, ceiling: (host) => host.memory, show: (value, { host }) => [gib(value), `of ${gib(host.memory)} GiB`] },
  load: { of: (sample) => sample.load[0], ceiling: (host) => host.samples[0].cores.length, show: (value, { last }) => [value.toFixed(2), `${last.load[1].toFixed(2)}  ${last.load[2].toFixed(2)}`] },
  lag: { of: (sample) => sample.lag, ceiling: () => 10, show: (value) => [value.toFixed(1), 'ms'] },
  connections: { of: (sample) => sample.connections, ceiling: () => 4, show: (value) => [value, 'open'] },
  messages: { of: (sample) => sample.messages, ceiling: () => 10, show: (value) => [value.toFixed(0), 'per second'] },
  sent: { of: (sample) => sample.sent, ceiling: () => 1000, show: (value) => { const [number, unit] = bytes(value); return [number, `${unit} per second`] } }
}
for (const [id, figure] of Object.entries(figures)) figure.chart = new Chart($(id).lastElementChild)
const cores = []

client.subscribeState('host', (host) => {
  const last = host?.samples.at(-1)
  if (last === undefined) return
  $('host').textContent = `to ${host.name}`
  $('connection').firstElementChild.animate({ opacity: [0.35, 1] }, 600)
  last.cores.forEach((busy, i) => {
    const { text, chart } = cores[i] ??= addCore(i)
    text.textContent = `${Math.round(busy * 100)} %`
    chart.draw(host.samples.map((sample) => sample.cores[i] ?? 0), 1)
  })
  for (const [id, { of, ceiling, show, chart }] of Object.entries(figures)) {
    const [number, unit] = show(of(last), { host, last })
    $(id).children[1].replaceChildren(number, element('small', unit))
    chart.draw(host.samples.map(of), ceiling(host))
  }
  wire(host)
})

function addCore (i) {
  const figure = element('figure')
  const plot = element('div')
  const text = element('b')
  const caption = element('figcaption', `Core ${i + 1}`)
  caption.append(text)
  plot.className = 'plot'
  figure.append(caption, plot)
  $('cores').append(figure)
  return { text, chart: new Chart(plot) }
}

/** Compares the bytes sent in the last minute with sending the whole object each second. */
function wire (host) {
  const sum = (of) => host.samples.reduce((total, sample) => total + of(sample), 0)
  const whole = new TextEncoder().encode(JSON.stringify(host)).length
  const sent = sum((sample) => sample.sent) / Math.max(1, sum((sample) => sample.connections))
  for (const [id, value] of [['whole', whole], ['patches', sent]]) {
    $(id).textContent = `${bytes(value).join(' ')} per second`
    $(id).nextElementSibling.value = value / Math.max(whole, sent)
  }
}

// ---- calls

const tries = { factorize: ['600851475143', '999999999989', '1', 'abc'], echo: ['hello', '¡olé! 🌞'], time: [] }
const { method, argument } = $('rpc').elements

method.addEventListener('change', showTries)
showTries()

function showTries () {
  argument.disabled = tries[method.value].length === 0
  argument.value = tries[method.value][0] ?? ''
  $('samples').replaceChildren(...tries[method.value].map((value) => {
    const button = element('button', value)
    button.type = 'button'
    button.className = 'quiet'
    button.addEventListener('click', () => {
      argument.value = value
      $('rpc').requestSubmit()
    })
    return button
  }))
}

$('rpc').addEventListener('submit', async (event) => {
  event.preventDefault()
  const name = method.value
  const number = Number(argument.value)
  const params = {
    factorize: { n: argument.value.trim() === '' || Number.isNaN(number) ? argument.value : number },
    echo: { text: argument.value }
  }[name]
  const start = performance.now()
  const done = (kind, code, text) => {
    const answer = element('li')
    answer.dataset.kind = kind
    answer.append(
      element('code', `${name}(${params === undefined ? '' : JSON.stringify(params)})`),
      element('small', `${(performance.now() - start).toFixed(1)} ms`),
      element('b', code),
      text
    )
    $('answers').prepend(answer)
    if ($('answers').childElementCount > 4) $('answers').lastChild.remove()
  }
  try {
    const result = await client.rpc(name, params)
    done('result', '', result.factors?.join(' × ') ?? result.text ?? result.now)
  } catch (error) {
    const why = error.data?.errors?.map(({ instancePath, message }) => `${instancePath.slice(1)} ${message}`).join(', ')
    done('error', error.code, why ?? error.message)
  }
})

// ---- chat

let me
let people = {}

client.subscribeState('people', (value = {}) => {
  people = value
  showPeople()
})

client.on('message', ({ data, timestamp }) => {
  const time = new Date(timestamp).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' })
  const item = element('li')
  item.append(element('b', data.name), data.text, element('time', time))
  $('talk').append(item)
  if ($('talk').childElementCount > 200) $('talk').firstChild.remove()
  $('talk').scrollTop = $('talk').scrollHeight
})

$('join').addEventListener('submit', async (event) => {
  event.preventDefault()
  const { name, room } = event.target.elements
  const before = me
  try {
    await join({ name: name.value.trim(), room: room.value.trim() })
    if (before?.room !== me.room) $('talk').replaceChildren()
    showJoin(false)
    $('say').elements.text.focus()
  } catch (error) {
    notice(error.message)
  }
})

$('who').lastElementChild.addEventListener('click', () => showJoin(true))

$('say').addEventListener('submit', (event) => {
  event.preventDefault()
  const { text } = event.target.elements
  if (client.emit('say', { text: text.value })) text.value = ''
  else notice('Not connected.')
})

async function join (person) {
  me = await client.rpc('join', person)
  $('who').firstElementChild.textContent = `You are ${me.name} in ${me.room}`
  showPeople()
}

function showJoin (isShown) {
  $('join').hidden = !isShown
  $('chat').hidden = isShown
}

function showPeople () {
  const all = Object.entries(people)
  $('rooms').replaceChildren(...Array.from(new Set(all.map(([, { room }]) => room)), (room) => element('option', room)))
  $('people').replaceChildren(...all.filter(([, { room }]) => room === me?.room).map(([id, { name }]) => {
    const item = element('li', name)
    item.classList.toggle('me', id === client.connectionId)
    return item
  }))
}

let noticeTimer
function notice (text) {
  clearTimeout(noticeTimer)
  $('notice').textContent = text
  noticeTimer = setTimeout(() => { $('notice').textContent = '' }, 8000)
}

// ---- words and numbers

/** Creates an element. Text of other users is inserted as text, never as HTML. */
function element (name, text = '') {
  const made = document.createElement(name)
  made.textContent = text
  return made
}

function bytes (value) {
  return value < 1000 ? [value.toFixed(0), 'B'] : [(value / 1000).toFixed(1), 'kB']
}

function gib (value) {
  return (value / 2 ** 30).toFixed(1)
}

client.connect().catch((error) => notice(error.message))
