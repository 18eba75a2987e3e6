import { type SyncCheck, syncCheckOf } from '../../contract/check.js'
import { invalidValue } from '../../contract/issues.js'
import type { Schema } from '../../contract/schema.js'
import type { ValueCheck } from '../store/write.js'
import type { Document, PatchLimits } from '../../protocol/document.js'
import { DatasoleError, coded, isThenable } from '../../protocol/errors.js'
import { clonePlain } from '../../protocol/json.js'
import type { MessageContext } from '../context/connection-context.js'
import type { Scope } from '../scope/scope.js'
import { type ThrownHost, invalidityOf } from '../errors/thrown.js'

/** Checks the value after a push. The value is a copy. False or a throw refuses the push. Synchronous. */
export type PushValidator<T = unknown> = (value: T, ctx: MessageContext) => boolean | void

/** Bytes that the operations of any push may copy, move and compare, beyond four times its own size. */
const FREE_WORK = 1024 * 1024

/** Checks the value after a push. */
export class PushCheck {
  readonly #host: ThrownHost
  readonly #scope: Scope
  readonly #schema: Schema | undefined
  readonly #contract: ValueCheck | undefined
  readonly #validate: PushValidator | undefined
  #matches: SyncCheck | undefined
  #isCompiled = false

  /** @param contract the contract's check; undefined if the store of the key runs it */
  constructor (host: ThrownHost, readonly key: string, scope: Scope, readonly maxBytes: number, schema: Schema | undefined, validate: PushValidator | undefined, contract: ValueCheck | undefined) {
    this.#host = host
    this.#scope = scope
    this.#schema = schema
    this.#contract = contract
    this.#validate = validate
  }

  /**
   * Compiles the schema, at start or when the channel is created, so that a bad schema is found early.
   * @throws DatasoleError `INVALID_OPTION`
   */
  compile (): void {
    if (this.#isCompiled) return
    if (this.#schema !== undefined) this.#matches = syncCheckOf(this.#schema, `createSyncChannel("${this.key}"): option schema`, (where, schema) => this.#scope.compile(where, schema))
    this.#isCompiled = true
  }

  get maxDepth (): number { return this.#host.settings.maxJsonDepth }

  /** @param size bytes of the frame */
  limits (size: number): PatchLimits {
    return { maxDepth: this.maxDepth, maxWork: 4 * size + FREE_WORK }
  }

  /** @throws RangeError `LIMIT_EXCEEDED`, DatasoleError `INVALID_VALUE` */
  run (document: Document, ctx: MessageContext): void {
    if (document.size > this.maxBytes) throw coded(new RangeError(`the value would have ${document.size} bytes of JSON, over maxBytes (${this.maxBytes})`), 'LIMIT_EXCEEDED')
    try {
      this.compile()
    } catch (error) {
      throw new DatasoleError('INTERNAL', `channel "${this.key}": the schema cannot be compiled`, { cause: error })
    }
    this.#contract?.(document.value, [''])
    if (this.#matches === undefined && this.#validate === undefined) return
    const value = clonePlain(document.value)
    const issues = this.#matches?.(value)?.issues
    if (issues !== undefined) throw invalidValue('the value', issues)
    if (this.#validate === undefined) return
    let verdict: unknown
    try {
      verdict = this.#validate(value, ctx)
    } catch (thrown) {
      throw invalid(invalidityOf(this.#host, thrown, { source: 'validate', key: this.key, connection: ctx.connection }))
    }
    if (isThenable(verdict)) {
      verdict.then(undefined, () => {}) // the outcome comes too late
      throw new DatasoleError('INTERNAL', `channel "${this.key}": validate must be synchronous; use a prePush hook for asynchronous checks`)
    }
    if (verdict === false) throw invalid('the value is not accepted')
  }
}

function invalid (message: string): DatasoleError {
  return new DatasoleError('INVALID_VALUE', message)
}
