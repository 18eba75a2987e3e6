/** Ends the subscription that returned it. Calling it again does nothing. */
export interface Unsubscribe {
  (): void
  /** The same function, for code that expects an object. */
  unsubscribe (): void
}

/** @param end called once, at the first call */
export function unsubscriber (end: () => void): Unsubscribe {
  let isEnded = false
  const unsubscribe = (): void => {
    if (isEnded) return
    isEnded = true
    end()
  }
  return Object.assign(unsubscribe, { unsubscribe })
}
