import { readFileSync } from 'node:fs'
import { Converter } from 'typedoc'

/* A plugin of TypeDoc, which names modules after their files: here they get the names by which they are imported. */
const { exports, name } = JSON.parse(readFileSync('package.json', 'utf8'))
const names = new Map(Object.entries(exports).flatMap(([path, { default: file }]) =>
  file === undefined ? [] : [[file.replace(/^\.\/dist\/|\.js$/g, ''), name + path.slice(1)]]))

export function load (app) {
  app.converter.on(Converter.EVENT_RESOLVE_BEGIN, ({ project }) => {
    for (const module of project.children ?? []) module.name = names.get(module.name) ?? module.name
  })
}
