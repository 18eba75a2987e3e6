/* global $state -- a rune of Svelte */
/** What the tests look at and act on. */
export const shared = $state({ shown: true, key: null })

export const lab = globalThis.lab = { renders: {}, log: [], errors: [] }
lab.setShown = (shown) => { shared.shown = shown }
lab.setKey = (key) => { shared.key = key }
