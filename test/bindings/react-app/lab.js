/** Shared with the tests, which look at it and act on it. */
export const lab = window.lab = { renders: {}, log: [], errors: [] }
