/** An error of datasole's own: `code` is stable and can be relied on, `message` says what to do. */
export class DatasoleError extends Error {
  override readonly name = 'DatasoleError'
  constructor (readonly code: string, message: string, options?: ErrorOptions) {
    super(message, options)
  }
}

/** Why a call failed, as the caller of a method sees it, over the wire or in process. */
export class RpcError<Errors = Record<string, unknown>> extends Error {
  override readonly name = 'RpcError'
  /**
   * @param code numeric, see `RpcCode`
   * @param data JSON that travels along; what datasole itself refuses has a string `code` in it
   * @param options `cause` stays in the process
   */
  constructor (readonly code: number, message: string, readonly data?: unknown, options?: ErrorOptions) {
    super(message, options)
  }

  /** Whether it is an error that the contract declares for the method; `data.details` then is of the declared type. */
  is<Code extends keyof Errors & string> (code: Code): this is { readonly data: { readonly code: Code, readonly details: Errors[Code] } } {
    return memberOf(this.data, 'code') === code && 'details' in (this.data as object)
  }
}

/** Gives a built-in error the stable `code` by which programs tell it from others. */
export function coded<E extends Error> (error: E, code: string): E & { code: string } {
  return Object.assign(error, { code })
}

/** A caller's mistake, for arguments that the types would have refused. */
export function invalidArgument (message: string): TypeError & { code: string } {
  return coded(new TypeError(message), 'INVALID_ARGUMENT')
}

/** @param what names it in the error: `invalidArgument` */
export function checkHandler (what: string, handler: unknown): void {
  if (typeof handler !== 'function') throw invalidArgument(`${what}: the handler must be a function`)
}

/** A member of anything that can be thrown; undefined where even looking at it throws. */
export function memberOf (thrown: unknown, name: string): unknown {
  try {
    return (thrown as Record<string, unknown> | null | undefined)?.[name]
  } catch {
    return undefined // by a getter of its own
  }
}

/** `instanceof`, for anything that can be thrown. */
export function isA<T> (thrown: unknown, type: new (...args: never[]) => T): thrown is T {
  try {
    return thrown instanceof type
  } catch {
    return false // a proxy that does not say
  }
}

/** The message of anything that can be thrown. */
export function messageOf (thrown: unknown): string {
  const message = memberOf(thrown, 'message')
  if (typeof message === 'string') return message
  try {
    return String(thrown)
  } catch {
    return 'unknown error' // thrown by something that cannot even be shown
  }
}

export function isThenable (value: unknown): value is PromiseLike<unknown> {
  return typeof (value as PromiseLike<unknown> | null | undefined)?.then === 'function'
}

/** Why what a function of the user's gave is no answer; where it is a promise, nobody will look at how that ends. */
export function notSynchronous (name: string, expected: string, given: unknown): TypeError & { code: string } {
  if (isThenable(given)) given.then(undefined, () => {}) // what it rejects with is beside the point
  return invalidArgument(`${name} has to return ${expected}, not ${isThenable(given) ? 'a promise' : typeof given}`)
}
