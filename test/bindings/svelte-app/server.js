import { render as renderApp } from 'svelte/server'

/** One module for each request, as its values are that request's own. */
export async function render (initial) {
  globalThis.initial = initial
  const { default: App } = await import('./App.svelte')
  return renderApp(App).body
}
