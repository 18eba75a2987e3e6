/** The part of a Worker that the client uses. */
export interface WorkerLike<Received, Sent> {
  onmessage: ((event: { data: Received }) => void) | null
  onerror: ((event: { message?: string, preventDefault?: () => void }) => void) | null
  postMessage (message: Sent): void
  terminate (): void
}

export type WorkerConstructor = new (url: string) => WorkerLike<never, never>

interface Policy { createScriptURL (url: string): string }

interface Page {
  Worker?: WorkerConstructor
  location?: { href: string, origin: string }
  trustedTypes?: { createPolicy (name: string, rules: Policy): Policy }
}

/** Name of the Trusted Types policy. A page that enforces them must allow `trusted-types datasole`. */
const POLICY = 'datasole'

const page = globalThis as Page
let policy: Policy | undefined

/** Starts the worker. Errors call it `name`. `settled` is called once it has loaded or failed to load. */
export type StartWorker<Received = unknown, Sent = unknown> = () => { worker: WorkerLike<Received, Sent>, name: string, settled: () => void }

/** The platform's Worker; undefined if it has none. */
export function workerConstructor (): WorkerConstructor | undefined {
  return page.Worker
}

/** Starts a script as a Web Worker. A worker must have the page's origin, so a blob imports scripts of other origins. */
export function loadWorker<Received, Sent> (url: string): ReturnType<StartWorker<Received, Sent>> {
  const Worker = page.Worker as unknown as new (url: string) => WorkerLike<Received, Sent>
  const { href, origin } = new URL(url, page.location?.href)
  if (origin === page.location?.origin) return { worker: new Worker(trusted(href)), name: url, settled () {} }
  const blob = URL.createObjectURL(new Blob([importing(href)], { type: 'text/javascript' }))
  const settled = (): void => { URL.revokeObjectURL(blob) }
  try {
    return { worker: new Worker(trusted(blob)), name: url, settled }
  } catch (error) {
    settled()
    throw error
  }
}

/** The code of a blob that imports the script. The page's policies apply to it. */
function importing (url: string): string {
  return `let url = ${JSON.stringify(url)}
try { url = trustedTypes.createPolicy('${POLICY}', { createScriptURL: (url) => url }).createScriptURL(url) } catch {}
importScripts(url)`
}

/** The URL as a TrustedScriptURL; the plain URL if the page does not need or allow the policy. */
function trusted (url: string): string {
  try {
    policy ??= page.trustedTypes?.createPolicy(POLICY, { createScriptURL: (url) => url })
  } catch { /* not allowed: the page may have a default policy, or enforce nothing */ }
  return policy?.createScriptURL(url) ?? url
}
