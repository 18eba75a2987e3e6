import { createApp, createSSRApp, shallowRef } from 'vue'
import App from './App.vue'
import { plugin } from './composables.js'

const lab = window.lab = { renders: {}, log: [], errors: [], shown: shallowRef(true), key: shallowRef(null) }
lab.setShown = (isShown) => { lab.shown.value = isShown }
lab.setKey = (key) => { lab.key.value = key }

const { initial } = window
const app = initial === undefined ? createApp(App) : createSSRApp(App)
app.use(plugin, { options: { reconnectInterval: 10, onError: (error) => { lab.errors.push(error.code) } }, initial })
app.mount('#root')
