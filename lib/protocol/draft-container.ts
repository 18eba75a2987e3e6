import type { Comparison, Drafted } from './comparison.js'
import { coded } from './errors.js'
import { type Container, isContainer } from './json.js'

/** The drafts of a recipe. A container has one draft, wherever it is stored. */
export interface Drafts {
  /** Whether the recipe wrote anything, even an equal value. */
  hasWritten: boolean
  /** Whether the recipe has returned, so that its drafts are revoked. */
  readonly isOver: boolean
  /** The draft of a container or of a draft's proxy. */
  get (container: object): ContainerDraft | undefined
  /** The container as the recipe sees it: an object that the recipe created is returned as it is, any other as a draft. */
  proxyOf (container: Container, parent: ContainerDraft, key: string | number): Container
  /** The stored form of a value that the recipe sees. */
  plain (value: unknown): unknown
  /** The stored form of a value that the recipe writes. */
  take (value: unknown): unknown
}

/** The member of a proxy that returns its draft. */
export const DRAFT = Symbol('draft')

/** Targets of the proxies. They hold no data: a proxy of a frozen target could not show changes. */
const OBJECT = inspectable({})
const ARRAY = inspectable([])

/** One object or array of the value, with the recipe's changes. It is the handler of its own proxy. */
export abstract class ContainerDraft<T extends Container = Container> implements ProxyHandler<Container>, Drafted {
  readonly proxy: Container
  /** The touched children; undefined if the container is untouched. */
  protected touchedChildren: ContainerDraft[] | undefined = undefined

  /** @param key its place in the parent; valid only while the parent has no change at that place */
  constructor (readonly drafts: Drafts, readonly base: T, readonly parent: ContainerDraft | undefined, readonly key: string | number) {
    this.proxy = new Proxy(Array.isArray(base) ? ARRAY : OBJECT, this)
  }

  /** Whether the container, or anything inside it, was written to. */
  get isTouched (): boolean { return this.touchedChildren !== undefined }

  /** Reports the changes to a comparison whose walk is at this container. */
  abstract reportTo (comparison: Comparison): void
  /** The current value, with the containers in it as they are stored. Called only after the recipe has returned. */
  abstract settled (): Container
  protected abstract read (key: string): unknown
  protected abstract holds (key: string): boolean
  protected abstract keys (): string[]
  protected abstract describe (key: string): PropertyDescriptor | undefined
  protected abstract write (key: string, value: unknown): void
  protected abstract erase (key: string): boolean

  protected touch (): void {
    this.drafts.hasWritten = true
    if (this.touchedChildren !== undefined) return
    this.touchedChildren = []
    this.parent?.touchedIn(this as ContainerDraft)
  }

  touchedIn (child: ContainerDraft): void {
    const isFirst = this.touchedChildren === undefined
    this.touchedChildren ??= []
    this.touchedChildren.push(child)
    if (isFirst) this.parent?.touchedIn(this as ContainerDraft)
  }

  protected shown (value: unknown, key: string | number): unknown {
    return isContainer(value) ? this.drafts.proxyOf(value, this as ContainerDraft, key) : value
  }

  protected check (): void {
    if (this.drafts.isOver) {
      throw coded(new TypeError('this draft was used after its recipe returned: ' +
        'copy the values you need inside the recipe'), 'DRAFT_REVOKED')
    }
  }

  get (target: Container, key: string | symbol): unknown {
    this.check()
    if (typeof key === 'string') return this.read(key)
    return key === DRAFT ? this : Reflect.get(target, key)
  }

  has (target: Container, key: string | symbol): boolean {
    this.check()
    return typeof key === 'symbol' ? Reflect.has(target, key) : this.holds(key) || Reflect.has(Object.getPrototypeOf(target), key)
  }

  ownKeys (): string[] {
    this.check()
    return this.keys()
  }

  getOwnPropertyDescriptor (_target: Container, key: string | symbol): PropertyDescriptor | undefined {
    this.check()
    return typeof key === 'symbol' ? undefined : this.describe(key)
  }

  set (_target: Container, key: string | symbol, value: unknown): boolean {
    this.check()
    if (typeof key === 'symbol') throw unfit(`a member called ${String(key)}`)
    this.drafts.hasWritten = true
    this.write(key, this.drafts.take(value))
    return true
  }

  deleteProperty (_target: Container, key: string | symbol): boolean {
    this.check()
    if (typeof key === 'symbol') return true
    this.drafts.hasWritten = true
    return this.erase(key)
  }

  defineProperty (target: Container, key: string | symbol, descriptor: PropertyDescriptor): boolean {
    if (!('value' in descriptor)) throw unfit('an accessor')
    return this.set(target, key, descriptor.value)
  }

  getPrototypeOf (target: Container): object | null {
    this.check()
    return Reflect.getPrototypeOf(target)
  }

  isExtensible (): boolean {
    this.check()
    return true
  }

  setPrototypeOf (): boolean {
    this.check()
    throw unfit('a prototype')
  }

  preventExtensions (): boolean {
    this.check()
    throw unfit('a frozen or sealed object')
  }
}

export function unfit (what: string): Error {
  return coded(new TypeError(`JSON cannot hold ${what}: a draft takes only JSON values`), 'INVALID_JSON')
}

/** Makes `console.log(draft)` of Node.js show the draft and not the target. */
function inspectable (target: Container): Container {
  function shown (this: Container): Container { return Array.isArray(this) ? [...this as unknown[]] : { ...this } }
  return Object.defineProperty(target, Symbol.for('nodejs.util.inspect.custom'), { value: shown, configurable: true })
}
