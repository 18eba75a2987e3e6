import { register } from 'node:module'
import { MessageChannel } from 'node:worker_threads'

/** Preloaded into a process: reports every module that is imported, through `modules`. */
const { port1, port2 } = new MessageChannel()
const hooks = `
let port
export function initialize (given) { port = given }
export async function resolve (specifier, context, next) {
  const found = await next(specifier, context)
  port.postMessage(found.url)
  return found
}`
register(`data:text/javascript,${encodeURIComponent(hooks)}`, { data: port2, transferList: [port2] })

const END = 'data:text/javascript,export const end = true'
const seen: string[] = []

/** Every module that this process has imported or required so far, as URLs and paths. */
export async function modules (required: Iterable<string>): Promise<string[]> {
  const ended = new Promise<void>((resolve) => { port1.on('message', (url: string) => { if (url === END) resolve(); else seen.push(url) }) })
  await import(END)
  await ended
  port1.close()
  return [...seen, ...required]
}
