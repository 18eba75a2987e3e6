import vue from '@vitejs/plugin-vue'
import t from 'tap'
import { consumer } from '../package/consumer.js'
import { testBindings } from './bindings-cases.js'
import { startBrowser, viteApp } from './vite-app.js'

const app = await viteApp(await consumer(t), { name: 'vue-app', source: 'test/bindings/vue-app', plugins: [vue()], server: 'server.js' })
const browser = await startBrowser(t)

testBindings('vue', app, () => browser)
