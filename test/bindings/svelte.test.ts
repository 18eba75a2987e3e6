import { svelte } from '@sveltejs/vite-plugin-svelte'
import t from 'tap'
import { consumer } from '../package/consumer.js'
import { testBindings } from './bindings-cases.js'
import { startBrowser, viteApp } from './vite-app.js'

const app = await viteApp(await consumer(t), { name: 'svelte-app', source: 'test/bindings/svelte-app', plugins: [svelte({ configFile: false })], server: 'server.js' })
const browser = await startBrowser(t)

testBindings('svelte', app, () => browser)
