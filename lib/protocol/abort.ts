/** The part of AbortSignal that datasole uses. */
export interface AbortSignalLike {
  /** Whether the signal was aborted. */
  readonly aborted: boolean
  /** The reason of the abort. */
  readonly reason: unknown
  /** Throws the reason if it was aborted. */
  throwIfAborted (): void
  /** Calls the listener at the abort. @param type `abort` @param listener called once */
  addEventListener (type: 'abort', listener: () => void): void
  /** Removes the listener. @param type `abort` @param listener the same function */
  removeEventListener (type: 'abort', listener: () => void): void
}

interface Waiting { readonly callbacks: Set<() => void>, readonly listener: () => void }

/**
 * One listener per signal serves all callbacks, since Node.js warns of a leak from the 11th listener on
 * (`MaxListenersExceededWarning`).
 */
const signals = new WeakMap<AbortSignalLike, Waiting>()

/**
 * Runs the callback when the signal is aborted. If it is aborted already, the callback never runs.
 * @param callback a different function for each registration; must not throw
 * @returns removes the callback
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
