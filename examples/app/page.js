/* global Datasole */
'use strict'

const client = new Datasole.DatasoleClient({ onError: (error) => notice(error.code === 'RATE_LIMITED' ? 'Not so fast: the server takes five messages in ten seconds.' : error.message) })
const $ = (id) => document.getElementById(id)

// ---- connection

client.onConnectionState((state) => {
  $('connection').dataset.state = state
  $('connection').lastElementChild.textContent = state
  // the server has forgotten who we are: say it again
  if (state === 'connected' && me !== undefined) join().catch((error) => notice(error.message))
})

// ---- live state of the machine

const LENGTH = 60
const series = new Map()

client.subscribeState('host', (host) => {
  if (host === undefined) return
  $('host').textContent = `live state of ${host.name}`
  host.cores.forEach((busy, i) => core(i, busy))
  figure('memory', `${(host.memory.used / 2 ** 30).toFixed(1)}`, `of ${(host.memory.total / 2 ** 30).toFixed(0)} GiB`, host.memory.used, host.memory.total)
  figure('load', host.load[0].toFixed(2), `${host.load[1].toFixed(2)} · ${host.load[2].toFixed(2)}`, host.load[0], Math.max(1, host.cores.length))
  figure('lag', host.lag.toFixed(1), 'ms', host.lag, 20)
  figure('connections', host.connections, '', host.connections, 4)
  figure('messages', Math.round(host.messages), '', host.messages, 10)
  figure('bytes', host.bytes, 'bytes per second', host.bytes, 500)
})

function figure (id, value, unit, sample, scale) {
  $(id).replaceChildren(String(value), small(unit))
  draw($(`${id}-chart`), id, sample, scale)
}

function core (i, busy) {
  let box = $('cores').children[i]
  if (box === undefined) {
    box = document.createElement('div')
    box.className = 'core'
    box.append(document.createElementNS('http://www.w3.org/2000/svg', 'svg'), document.createElement('span'), document.createElement('b'))
    box.firstChild.classList.add('chart')
    box.children[1].textContent = `core ${i}`
    $('cores').append(box)
  }
  box.children[2].textContent = `${Math.round(busy * 100)} %`
  draw(box.firstChild, `core ${i}`, busy, 1)
}

/** A line with the ground below it; the newest sample is at the right. `scale` is what the height stands for, at least. */
function draw (svg, name, sample, scale) {
  const samples = series.get(name) ?? []
  series.set(name, samples)
  samples.push(sample)
  if (samples.length > LENGTH) samples.shift()
  const top = Math.max(scale, ...samples)
  const points = samples.map((value, i) => `${LENGTH - samples.length + i},${(1 - 0.92 * value / top).toFixed(4)}`)
  if (svg.childElementCount === 0) {
    svg.setAttribute('viewBox', `0 0 ${LENGTH - 1} 1`)
    svg.setAttribute('preserveAspectRatio', 'none')
    for (const kind of ['area', 'line']) {
      const path = document.createElementNS('http://www.w3.org/2000/svg', 'path')
      path.classList.add(kind)
      svg.append(path)
    }
  }
  const line = `M${points.join('L')}`
  svg.children[0].setAttribute('d', `${line}L${LENGTH - 1},1L${LENGTH - samples.length},1Z`)
  svg.children[1].setAttribute('d', line)
}

function small (text) {
  const element = document.createElement('small')
  element.textContent = text
  return element
}

// ---- calls

const example = { factorize: '600851475143', echo: 'hello' }
$('rpc').method.addEventListener('change', () => { $('rpc').argument.value = example[$('rpc').elements.method.value] })

$('rpc').addEventListener('submit', async (event) => {
  event.preventDefault()
  const { method, argument } = event.target.elements
  const number = argument.value.trim() === '' ? NaN : Number(argument.value)
  const params = method.value === 'echo' ? { text: argument.value } : { n: Number.isNaN(number) ? argument.value : number }
  const start = performance.now()
  try {
    const result = await client.rpc(method.value, params)
    answer('result', result.factors?.join(' × ') ?? result.text, start)
  } catch (error) {
    const why = error.data?.errors?.map(({ instancePath, message }) => `${instancePath.slice(1)} ${message}`).join(', ')
    answer('error', `${error.code}: ${why ?? error.message}`, start)
  }
})

function answer (kind, text, start) {
  $('answer').dataset.kind = kind
  $('answer').textContent = `${text}\n${(performance.now() - start).toFixed(1)} ms there and back`
}

// ---- chat

let me
let people = {}

client.subscribeState('people', (value = {}) => {
  people = value
  showPeople()
})

client.on('message', ({ data }) => {
  const item = document.createElement('li')
  const name = document.createElement('b')
  name.textContent = data.name
  item.append(name, data.text)
  const list = $('messages-list')
  list.append(item)
  if (list.childElementCount > 200) list.firstChild.remove()
  list.scrollTop = list.scrollHeight
})

$('join').addEventListener('submit', async (event) => {
  event.preventDefault()
  const { name, room } = event.target.elements
  const before = me
  me = { name: name.value.trim(), room: room.value.trim() }
  try {
    await join()
    if (before?.room !== me.room) $('messages-list').replaceChildren()
    $('say').hidden = false
    $('say').elements.text.focus()
  } catch (error) {
    me = before
    notice(error.message)
  }
})

$('say').addEventListener('submit', (event) => {
  event.preventDefault()
  const { text } = event.target.elements
  if (client.emit('say', { text: text.value })) text.value = ''
  else notice('Not connected.')
})

async function join () {
  await client.rpc('join', me)
  showPeople()
}

function showPeople () {
  const here = Object.entries(people).filter(([, { room }]) => room === me?.room)
  $('people').replaceChildren(...here.map(([id, { name }]) => {
    const item = document.createElement('li')
    item.textContent = name
    item.classList.toggle('me', id === client.connectionId)
    return item
  }))
}

let noticeTimer
function notice (text) {
  clearTimeout(noticeTimer)
  $('notice').textContent = text
  $('notice').hidden = false
  noticeTimer = setTimeout(() => { $('notice').hidden = true }, 4000)
}

client.connect().catch((error) => notice(error.message))
