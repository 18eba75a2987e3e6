import { createSSRApp } from 'vue'
import { renderToString } from 'vue/server-renderer'
import App from './App.vue'
import { plugin } from './composables.js'

export const render = async (initial) => await renderToString(createSSRApp(App).use(plugin, { initial }))
