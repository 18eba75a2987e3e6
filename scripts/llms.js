import { mkdir, readFile, readdir, writeFile } from 'node:fs/promises'

/* Writes docs/public/llms.txt: every page with its title and first sentence, in the format of https://llmstxt.org. */
const names = (await readdir('docs', { recursive: true }))
  .filter((name) => name.endsWith('.md') && !name.startsWith('.vitepress') && !name.includes('reference/api/'))
  .sort()
const lines = ['# datasole', '', '> A realtime server for Node.js: RPC, events and live state over one binary WebSocket per client.', '', '## Docs', '']
for (const name of names) {
  const text = await readFile(`docs/${name}`, 'utf8')
  const [, title = name] = /^# (.+)$/m.exec(text) ?? []
  const [, first = ''] = /^# .+\n\n([^#`|<][\s\S]*?[.:](?=\s))/m.exec(text) ?? []
  lines.push(`- [${title}](/${name.replace(/(index)?\.md$/, '')})${first === '' ? '' : `: ${first.replace(/\s+/g, ' ').replace(/\[([^\]]+)\]\([^)]*\)/g, '$1').replace(/:$/, '.')}`}`)
}
await mkdir('docs/public', { recursive: true })
await writeFile('docs/public/llms.txt', `${lines.join('\n')}\n`)
