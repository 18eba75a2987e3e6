/** An error of datasole. `code` is stable, and `message` says what to do. */
export class DatasoleError extends Error {
  override readonly name = 'DatasoleError'
  constructor (readonly code: string, message: string, options?: ErrorOptions) {
    super(message, options)
  }
}

/** The error of a failed call, as the caller of the method gets it, over the wire or in process. */
export class RpcError<Errors = Record<string, unknown>> extends Error {
  override readonly name = 'RpcError'
  /**
   * @param code numeric, see `RpcCode`
   * @param data JSON for the caller; datasole's own errors have a string `code` in it
   * @param options `cause` is never sent
   */
  constructor (readonly code: number, message: string, readonly data?: unknown, options?: ErrorOptions) {
    super(message, options)
  }

  /**
   * Tests for an error that the contract declares for the method. If true, `data.details` has the declared type.
   * @param code the name of the error in the contract
   */
  is<Code extends keyof Errors & string> (code: Code): this is { readonly data: { readonly code: Code, readonly details: Errors[Code] } } {
    return memberOf(this.data, 'code') === code && 'details' in (this.data as object)
  }
}

/** Adds a stable `code` to a built-in error, so that programs can tell it from others. */
export function coded<E extends Error> (error: E, code: string): E & { code: string } {
  return Object.assign(error, { code })
}

/** The error for an argument of the wrong type, which TypeScript would refuse. */
export function invalidArgument (message: string): TypeError & { code: string } {
  return coded(new TypeError(message), 'INVALID_ARGUMENT')
}

/** @param what names the argument in the error @throws TypeError `INVALID_ARGUMENT` if the handler is not a function */
export function checkHandler (what: string, handler: unknown): void {
  if (typeof handler !== 'function') throw invalidArgument(`${what}: the handler must be a function`)
}

/** A member of any thrown value; undefined if reading it throws. */
export function memberOf (thrown: unknown, name: string): unknown {
  try {
    return (thrown as Record<string, unknown> | null | undefined)?.[name]
  } catch {
    return undefined // a getter or a proxy threw
  }
}

/** `instanceof` for any thrown value; never throws. */
export function isA<T> (thrown: unknown, type: new (...args: never[]) => T): thrown is T {
  try {
    return thrown instanceof type
  } catch {
    return false // a proxy may throw when its prototype is read
  }
}

/** The message of any thrown value. */
export function messageOf (thrown: unknown): string {
  const message = memberOf(thrown, 'message')
  if (typeof message === 'string') return message
  try {
    return String(thrown)
  } catch {
    return 'unknown error' // the value cannot be converted to a string
  }
}

export function isThenable (value: unknown): value is PromiseLike<unknown> {
  return typeof (value as PromiseLike<unknown> | null | undefined)?.then === 'function'
}

/** The error for a user's function that returned the wrong type or a promise. Ignores a rejection of the promise. */
export function notSynchronous (name: string, expected: string, given: unknown): TypeError & { code: string } {
  if (isThenable(given)) given.then(undefined, () => {})
  return invalidArgument(`${name} must return ${expected}, not ${isThenable(given) ? 'a promise' : typeof given}`)
}
