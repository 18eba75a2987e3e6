import { parseArgs } from 'node:util'
import { peers, scenarios } from './catalog.js'

export interface Options { scenarios: string[], peers: string[], seconds: number, rounds: number, json: string | undefined, profile: string | undefined }

/** `--only fanout,echo --peers ws,datasole --seconds 2 --rounds 3 --json out.json` */
export function readOptions (args: string[]): Options {
  const { values } = parseArgs({ args, options: { only: { type: 'string' }, peers: { type: 'string' }, seconds: { type: 'string', default: '2' }, rounds: { type: 'string', default: '3' }, json: { type: 'string' }, profile: { type: 'string' } } })
  const positive = (name: 'seconds' | 'rounds'): number => {
    const value = Number(values[name])
    if (!(value > 0)) throw new Error(`--${name} takes a number above 0`)
    return value
  }
  return {
    scenarios: chosen('--only', values.only, Object.keys(scenarios)),
    peers: chosen('--peers', values.peers, Object.keys(peers)),
    seconds: positive('seconds'),
    rounds: positive('rounds'),
    json: values.json,
    profile: values.profile
  }
}

/** All of them, or those that a list names: each by its name, or by how the name begins. */
function chosen (option: string, list: string | undefined, all: string[]): string[] {
  if (list === undefined) return all
  const asked = list.split(',')
  const unknown = asked.find((name) => !all.some((one) => isNamed(one, name, all)))
  if (unknown !== undefined) throw new Error(`${option}: there is no "${unknown}"; there are ${all.join(', ')}`)
  return all.filter((one) => asked.some((name) => isNamed(one, name, all)))
}

function isNamed (one: string, name: string, all: string[]): boolean {
  return one === name || (!all.includes(name) && one.startsWith(`${name}-`))
}
