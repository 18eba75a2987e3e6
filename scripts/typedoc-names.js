import { readFileSync } from 'node:fs'
import { Converter } from 'typedoc'

/* A TypeDoc plugin that names modules by their import path. TypeDoc would name them after their files. */
const { exports, name } = JSON.parse(readFileSync('package.json', 'utf8'))
const names = new Map(Object.entries(exports).flatMap(([path, { default: file }]) =>
  file === undefined ? [] : [[file.replace(/^\.\/dist\/|\.js$/g, ''), name + path.slice(1)]]))

export function load (app) {
  app.converter.on(Converter.EVENT_RESOLVE_BEGIN, ({ project }) => {
    for (const module of project.children ?? []) module.name = names.get(module.name) ?? module.name
  })
}
