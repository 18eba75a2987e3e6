import type { FastifyBaseLogger, FastifyInstance, FastifyTypeProvider, FastifyTypeProviderDefault, RawReplyDefaultExpression, RawRequestDefaultExpression, RawServerBase, RawServerDefault } from 'fastify'
import fp from 'fastify-plugin'
import type { DatasoleContract } from './lib/protocol/contract.js'
import { Datasole as Server, createCore } from './lib/server/datasole.js'
import { DatasoleError } from './lib/protocol/errors.js'
import type { DatasoleServerOptions } from './plugins/connections.js'
import { enter } from './plugins/standalone/front-door.js'
import { begin, mount } from './plugins/mount.js'
import { upgrades } from './plugins/upgrades.js'
import { WORKER_SCHEMAS, schemaCompiler, watchCompilers } from './plugins/schema-compiler.js'

/**
 * Carries the application's contract to `fastify.ds`:
 *
 * @example
 * declare module 'datasole' { interface Register { contract: AppContract } }
 */
// eslint-disable-next-line @typescript-eslint/no-empty-object-type -- it is there to be augmented
export interface Register {}

type RegisteredContract = Register extends { contract: infer C extends DatasoleContract } ? C : DatasoleContract

/**
 * Carries a contract in the type provider of an instance, so that its `ds` is typed. Fastify's types forget the provider
 * in a scope, which asks for it again:
 *
 * @example
 * const app = fastify.withTypeProvider<ContractProvider<typeof contract>>()
 * app.ds.rpc.register('add', ({ a, b }) => a + b)
 */
export type ContractProvider<C extends DatasoleContract, Other extends FastifyTypeProvider = FastifyTypeProviderDefault> = Other & { readonly contract: C }

type ContractOf<Provider> = Provider extends { readonly contract: infer C extends DatasoleContract } ? C : RegisteredContract

declare module 'fastify' {
  /* eslint-disable @typescript-eslint/no-unused-vars -- all declarations of an interface have the same parameters */
  interface FastifyInstance<
    RawServer extends RawServerBase = RawServerDefault,
    RawRequest extends RawRequestDefaultExpression<RawServer> = RawRequestDefaultExpression<RawServer>,
    RawReply extends RawReplyDefaultExpression<RawServer> = RawReplyDefaultExpression<RawServer>,
    Logger extends FastifyBaseLogger = FastifyBaseLogger,
    TypeProvider extends FastifyTypeProvider = FastifyTypeProviderDefault
  > {
  /* eslint-enable @typescript-eslint/no-unused-vars */
    /** This scope's view of the datasole server; hooks added to it apply to what is registered in the scope and below. */
    ds: Server<ContractOf<TypeProvider>>
  }
}

/**
 * The Fastify plugin: decorates the instance with `ds`, and serves WebSocket and client bundles under
 * `options.path`. Once `await fastify.register(datasole, …)` is through, the backend is connected and
 * everything on `ds` can be used.
 * @throws DatasoleError `INVALID_OPTION`, naming the option; `DUPLICATE_REGISTRATION`; `PATH_TAKEN`; `BACKEND_UNAVAILABLE`, `BACKEND_REFUSED`, `DRIVER_MISSING`
 */
async function datasole (app: FastifyInstance, options: DatasoleServerOptions): Promise<void> {
  if (app.hasDecorator('ds')) throw new DatasoleError('DUPLICATE_REGISTRATION', 'datasole is registered already in this scope or above it; use the fastify.ds that is there')
  if (options.trustProxy !== undefined) throw new DatasoleError('INVALID_OPTION', 'datasole: option trustProxy is an option of Fastify here: set it in Fastify({ trustProxy })')
  watchCompilers(app)
  const core = createCore(options, options.logger ?? app.log, schemaCompiler(app), WORKER_SCHEMAS)
  const root = new Server<RegisteredContract>(core)
  app.decorate('ds', root)
  app.addHook('onRegister', (instance) => { instance.ds = instance.ds.derive(schemaCompiler(instance), instance.pluginName) })
  await begin(app, core)
  const route = await upgrades(app, core)
  await mount(app, core, route)
  const leave = enter(app.server, { path: app.prefix + core.settings.path, upgrade: route })
  app.addHook('onClose', leave)
}

/**
 * The Fastify plugin: `await fastify.register(datasole, options)` decorates the instance with `ds`.
 * @throws DatasoleError `INVALID_OPTION`, naming the option; `DUPLICATE_REGISTRATION`; `PATH_TAKEN`;
 *   `BACKEND_UNAVAILABLE`, `BACKEND_REFUSED`, `DRIVER_MISSING`
 */
export default fp(datasole, { fastify: '5.x', name: 'datasole' })

/** `fastify.ds`, by default of the contract that `Register` names. */
export type Datasole<C extends DatasoleContract = RegisteredContract> = Server<C>
export const Datasole = Server
export { DatasoleError }
export { RpcError } from './lib/protocol/errors.js'
export type { DatasoleContract, DatasoleServerOptions }
