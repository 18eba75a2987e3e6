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

/** The name that a page which enforces Trusted Types has to allow: `trusted-types datasole`. */
const POLICY = 'datasole'

const page = globalThis as Page
let policy: Policy | undefined

/** The page's Worker, where there is one. */
export function workerConstructor (): WorkerConstructor | undefined {
  return page.Worker
}

/**
 * Starts a script as a Web Worker. Workers have to be of the page's own origin: one of another is
 * imported by a blob, which is.
 * @returns the worker, and what is to be called when it has loaded, or has failed to
 */
export function loadWorker<Received, Sent> (url: string): { worker: WorkerLike<Received, Sent>, settled: () => void } {
  const Worker = page.Worker as unknown as new (url: string) => WorkerLike<Received, Sent>
  const { href, origin } = new URL(url, page.location?.href)
  if (origin === page.location?.origin) return { worker: new Worker(trusted(href)), settled () {} }
  const blob = URL.createObjectURL(new Blob([importing(href)], { type: 'text/javascript' }))
  const settled = (): void => { URL.revokeObjectURL(blob) }
  try {
    return { worker: new Worker(trusted(blob)), settled }
  } catch (error) {
    settled()
    throw error
  }
}

/** The blob's worker is under the policies of the page. A policy that may not be made is no fault where none is needed. */
function importing (url: string): string {
  return `let url = ${JSON.stringify(url)}
try { url = trustedTypes.createPolicy('${POLICY}', { createScriptURL: (url) => url }).createScriptURL(url) } catch {}
importScripts(url)`
}

/** A URL that a page which enforces Trusted Types takes for a script; the URL itself where the policy is not allowed, or not needed. */
function trusted (url: string): string {
  try {
    policy ??= page.trustedTypes?.createPolicy(POLICY, { createScriptURL: (url) => url })
  } catch { /* then the page may have a default policy, or enforce nothing */ }
  return policy?.createScriptURL(url) ?? url
}
