import { hydrate, mount } from 'svelte'
import App from './App.svelte'

const start = window.initial === undefined ? mount : hydrate
start(App, { target: document.getElementById('root') })
