import { existsSync, readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { defineConfig } from 'vitepress'

const docs = join(import.meta.dirname ?? '.', '..')

/** A page in the sidebar, with its first heading as title. */
function page (path: string): { text: string, link: string } {
  const [, title = path] = /^# (.+)$/m.exec(readFileSync(join(docs, `${path}.md`), 'utf8')) ?? []
  return { text: title, link: `/${path}` }
}

/** The pages of a folder: `index` first, the others by name. */
function pages (folder: string): Array<{ text: string, link: string }> {
  if (!existsSync(join(docs, folder))) return []
  return readdirSync(join(docs, folder))
    .filter((name) => name.endsWith('.md'))
    .map((name) => name.replace(/\.md$/, ''))
    .sort((a, b) => Number(b === 'index') - Number(a === 'index') || a.localeCompare(b, 'en', { numeric: true }))
    .map((name) => page(`${folder}/${name}`))
}

const group = (text: string, items: Array<{ text: string, link: string }>): { text: string, items: typeof items, collapsed: boolean } => ({ text, items, collapsed: false })

export default defineConfig({
  title: 'datasole',
  description: 'A realtime server for Node.js: RPC, events and live state over one WebSocket',
  lang: 'en',
  cleanUrls: true,
  lastUpdated: false,
  // pages of the repository are linked from here, and are not part of the site
  ignoreDeadLinks: [/^\.\.?\/.*(lib|examples|bench|test|CHANGELOG|README|CONTRIBUTING|SECURITY)/, /^https?:\/\/(localhost|127\.0\.0\.1)/],
  srcExclude: ['**/node_modules/**'],
  markdown: {
    // the site has a page for each of these files of the repository
    config: (md) => {
      const { normalizeLink } = md
      md.normalizeLink = (url) => normalizeLink(url.replace(/^(\.\.\/)+lib\/protocol\/PROTOCOL\.md/, '/reference/protocol').replace(/^(\.\.\/)+CHANGELOG\.md/, '/reference/changelog').replace(/^(\.\.\/)*docs\/([\w/-]+)\.md/, '/$2'))
    }
  },
  themeConfig: {
    search: { provider: 'local' },
    outline: [2, 3],
    nav: [
      { text: 'Tutorial', link: '/tutorial/' },
      { text: 'Guides', link: '/rpc' },
      { text: 'Reference', link: '/reference/options' }
    ].filter(({ link }) => existsSync(join(docs, link.endsWith('/') ? `${link}index.md` : `${link}.md`))),
    sidebar: [
      group('Start', pages('start')),
      group('Tutorial', pages('tutorial')),
      group('Examples', pages('examples')),
      group('Guides', ['rpc', 'events', 'live-state', 'hooks', 'channels', 'crdts', 'yjs', 'shared-state', 'sessions', 'rate-limits', 'authentication', 'executors', 'backends', 'plugins', 'contract', 'errors'].map(page)),
      group('Client', ['client', 'react', 'vue', 'svelte'].map(page)),
      group('Run it', [...['metrics', 'cluster', 'http', 'inspector', 'stores', 'security', 'packaging', 'testing'].filter((name) => existsSync(join(docs, `${name}.md`))).map(page), ...pages('run')]),
      group('Beside', pages('beside')),
      group('Coming from', [...pages('from'), ...existsSync(join(docs, 'comparison.md')) ? [page('comparison')] : []]),
      group('Reference', [...pages('reference'), page('limits'), ...pages('reference/api').slice(0, 1).map(({ link }) => ({ text: 'API', link }))])
    ].filter(({ items }) => items.length > 0)
  }
})
