/** Ends the subscription that it came from, and no other. Calling it again does nothing. */
export interface Unsubscribe {
  (): void
  /** The same, for code that expects an object. */
  unsubscribe (): void
}

/** @param end runs at the first call only */
export function unsubscriber (end: () => void): Unsubscribe {
  let isEnded = false
  const unsubscribe = (): void => {
    if (isEnded) return
    isEnded = true
    end()
  }
  return Object.assign(unsubscribe, { unsubscribe })
}
