import type { DeepReadonly } from '../protocol/frozen.js'
import type { Head } from '../protocol/messages.js'

/** Selects a part of a value. */
export interface Selection<T = unknown, S = unknown> {
  /** Gets the frozen value, or undefined if the key has none. Unchanged parts stay the same objects. */
  selector: (value: DeepReadonly<T> | undefined) => S
  /** Whether the part is unchanged. Default `Object.is`. */
  equals?: (last: S, next: S) => boolean
}

/** Wraps a handler, so that it gets the selected part, at first and whenever the part changes. */
export function onSelection<T, S> (handler: (selected: S, head: Readonly<Head>) => void, { selector, equals = Object.is }: Selection<T, S>): (value: DeepReadonly<T> | undefined, head: Readonly<Head>) => void {
  let last: { selected: S } | undefined
  return (value, head) => {
    const selected = selector(value)
    if (last !== undefined && equals(last.selected, selected)) return
    last = { selected }
    handler(selected, head)
  }
}
