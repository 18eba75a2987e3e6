/** An error of datasole. `code` is stable, and `message` says what to do. */
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
   * @param data JSON for the caller; in datasole's own errors it has a string `code`
   * @param options `cause` stays in the process
   */
  constructor (readonly code: number, message: string, readonly data?: unknown, options?: ErrorOptions) {
    super(message, options)
  }

  /**
   * Tests for an error that the contract declares for the method. `data.details` then has the declared type.
   * @param code the name of the error in the contract
   */
  is<Code extends keyof Errors & string> (code: Code): this is { readonly data: { readonly code: Code, readonly details: Errors[Code] } } {
    return memberOf(this.data, 'code') === code && 'details' in (this.data as object)
  }
}

/** Gives a built-in error the stable `code` by which programs tell it from others. */
export function coded<E extends Error> (error: E, code: string): E & { code: string } {
  return Object.assign(error, { code })
}

/** The error for an argument that the types refuse. */
export function invalidArgument (message: string): TypeError & { code: string } {
  return coded(new TypeError(message), 'INVALID_ARGUMENT')
}

/** @param what names it in the error: `invalidArgument` */
export function checkHandler (what: string, handler: unknown): void {
  if (typeof handler !== 'function') throw invalidArgument(`${what}: the handler must be a function`)
}

/** A member of anything thrown; undefined if reading it throws. */
export function memberOf (thrown: unknown, name: string): unknown {
  try {
    return (thrown as Record<string, unknown> | null | undefined)?.[name]
  } catch {
    return undefined // by a getter of its own
  }
}

/** `instanceof` for anything thrown; never throws. */
export function isA<T> (thrown: unknown, type: new (...args: never[]) => T): thrown is T {
  try {
    return thrown instanceof type
  } catch {
    return false // a proxy that does not say
  }
}

/** The message of anything thrown. */
export function messageOf (thrown: unknown): string {
  const message = memberOf(thrown, 'message')
  if (typeof message === 'string') return message
  try {
    return String(thrown)
  } catch {
    return 'unknown error' // not even convertible to a string
  }
}

export function isThenable (value: unknown): value is PromiseLike<unknown> {
  return typeof (value as PromiseLike<unknown> | null | undefined)?.then === 'function'
}

/** The error for a user's function that returned the wrong type or a promise. A rejection of the promise is ignored. */
export function notSynchronous (name: string, expected: string, given: unknown): TypeError & { code: string } {
  if (isThenable(given)) given.then(undefined, () => {})
  return invalidArgument(`${name} has to return ${expected}, not ${isThenable(given) ? 'a promise' : typeof given}`)
}
