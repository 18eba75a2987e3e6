/** The part of an AbortSignal that is used here; a platform's own has it. */
export interface AbortSignalLike {
  readonly aborted: boolean
  readonly reason: unknown
  throwIfAborted (): void
  addEventListener (type: 'abort', listener: () => void): void
  removeEventListener (type: 'abort', listener: () => void): void
}

interface Waiting { readonly callbacks: Set<() => void>, readonly listener: () => void }

/**
 * One listener per signal serves all that wait for it. One for each would be taken for a leak: Node.js warns
 * from the 11th listener on (`MaxListenersExceededWarning`).
 */
const signals = new WeakMap<AbortSignalLike, Waiting>()

/**
 * Runs the callback when the signal is aborted. One that is aborted already runs nothing.
 * @param callback a function of its own for each registration; must not throw
 * @returns ends that
 */
export function onAbort (signal: AbortSignalLike, callback: () => void): () => void {
  let waiting = signals.get(signal)
  if (waiting === undefined) {
    const callbacks = new Set<() => void>()
    const listener = (): void => {
      signals.delete(signal)
      signal.removeEventListener('abort', listener)
      for (const each of callbacks) each()
    }
    waiting = { callbacks, listener }
    signals.set(signal, waiting)
    signal.addEventListener('abort', waiting.listener)
  }
  const { callbacks, listener } = waiting
  callbacks.add(callback)
  return () => {
    if (!callbacks.delete(callback) || callbacks.size > 0 || signals.get(signal)?.callbacks !== callbacks) return
    signals.delete(signal)
    signal.removeEventListener('abort', listener)
  }
}
