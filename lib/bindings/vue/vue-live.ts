import { type ShallowRef, reactive, readonly, shallowRef } from 'vue'
import type { LiveClient } from '../../client/live-client.js'
import { type LiveSnapshot, type LiveStore, type LiveStoreOptions, liveStore } from '../../client/live-store.js'
import { type Container, type Members, clonePlain, isContainer, putMember } from '../../protocol/json.js'
import type { Operation } from '../../protocol/messages.js'
import { type Editor, runPatch } from '../../protocol/patch.js'
import { storeOf } from '../held-store.js'

/** Applies patches to a reactive copy in place, so that only effects that read a changed part run again. */
class ReactiveEditor implements Editor {
  /** Has the value as its member ''. */
  readonly holder = reactive<Members>({})

  open (_parent: Container, _key: string | number, child: Container): Container { return child }

  put (object: Members, key: string, value: unknown): void {
    if (value === undefined) delete object[key]
    else putMember(object, key, own(value))
  }

  splice (array: unknown[], start: number, deleteCount: number, items: unknown[]): void {
    array.splice(start, deleteCount, ...items.map(own))
  }
}

/** Copies a frozen value of the client, because Vue does not observe frozen objects. Objects of the copy stay the same. */
function own (value: unknown): unknown {
  return isContainer(value) && Object.isFrozen(value) ? clonePlain(value) : value
}

/** A key of live state as a reactive copy, shared by all components of a client. */
export class ReactiveKey {
  /** The status and the version of the shown value. */
  readonly snapshot: ShallowRef<LiveSnapshot>
  readonly #editor = new ReactiveEditor()
  readonly #shown = readonly(this.#editor.holder)
  readonly #store: () => LiveStore
  #users = 0
  #end: (() => void) | undefined

  constructor (store: () => LiveStore, readonly forget: () => void) {
    this.#store = store
    this.snapshot = shallowRef(store().getSnapshot())
    this.#show(undefined)
  }

  /** The read-only copy. It follows the key between `retain` and its end. */
  get value (): unknown { return (this.#shown as Members)[''] }

  /** Follows the key until all users have ended. @returns ends this use */
  retain (): () => void {
    if (this.#users++ === 0) {
      this.#end = this.#store().subscribe((patches) => { this.#update(patches) })
      this.#update(undefined)
    }
    return () => {
      if (--this.#users > 0) return
      this.#end?.()
      this.forget()
    }
  }

  #update (patches: readonly Operation[] | undefined): void {
    const last = this.snapshot.value
    const next = this.#store().getSnapshot()
    if (next === last) return
    this.snapshot.value = next
    if (next.value !== last.value) this.#show(patches)
  }

  #show (patches: readonly Operation[] | undefined): void {
    if (patches !== undefined) return runPatch(this.#editor, patches as Operation[])
    // copy always: a value that a server rendered is not frozen yet
    this.#editor.put(this.#editor.holder, '', clonePlain(this.snapshot.value.value))
  }
}

export function reactiveKey (client: LiveClient, key: string, options: LiveStoreOptions): ReactiveKey {
  return storeOf(client, `vue ${key}`, (forget) => new ReactiveKey(() => liveStore(client, key, options), forget))
}
