import type { FastifyInstance, FastifyPluginOptions } from 'fastify'
import fp from 'fastify-plugin'
import type { Core } from '../lib/server/core.js'
import { Datasole } from '../lib/server/datasole.js'
import type { Scope } from '../lib/server/scope/scope.js'

/** The server that a plugin extends, and the scope of the instance on which the plugin was registered. */
export interface Inside { core: Core, scope: Scope, plugin: string, app: FastifyInstance }

export type SubPlugin<O extends FastifyPluginOptions> = (app: FastifyInstance, options: O) => Promise<void>

/** Makes a Fastify plugin that extends the datasole scope of its instance. `install` runs while the plugin loads. */
export function define<O extends FastifyPluginOptions> (name: string, install: (inside: Inside, options: O) => void | Promise<void>): SubPlugin<O> {
  const plugin: SubPlugin<O> = async (app, options) => {
    const { core, scope } = Datasole.insideOf(app)
    core.checkNotStarted(scope, name)
    await install({ core, scope, plugin: name, app }, options)
  }
  return fp(plugin as SubPlugin<FastifyPluginOptions>, { name, fastify: '5.x', dependencies: ['datasole'] }) as SubPlugin<O>
}
