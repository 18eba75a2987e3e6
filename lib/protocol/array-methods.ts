/** What the methods below do to an array: as few operations as there are changes. */
export interface ArrayEditor {
  /** As Array.prototype.splice, with `start` inside the array; `deleteCount` may reach beyond its end. */
  splice (target: unknown[], start: number, deleteCount: number, items: unknown[]): unknown[]
  /** Puts the elements into the order that `change` gives to a list of their drafts; gives the array's draft. */
  reorder (target: unknown[], change: (drafts: unknown[]) => void): unknown[]
}

/**
 * The array methods that would move elements one by one if a draft left them to its traps: inserting
 * at the head of 1,000 elements would be 1,000 operations.
 */
// eslint-disable-next-line @typescript-eslint/no-explicit-any -- each method has arguments of its own
export const arrayMethods = new Map<string, (editor: ArrayEditor, target: unknown[], args: any[]) => unknown>([
  ['push', (editor, target, items) => {
    editor.splice(target, target.length, 0, items)
    return target.length
  }],
  ['pop', (editor, target) => editor.splice(target, Math.max(target.length - 1, 0), 1, [])[0]],
  ['shift', (editor, target) => editor.splice(target, 0, 1, [])[0]],
  ['unshift', (editor, target, items) => {
    editor.splice(target, 0, 0, items)
    return target.length
  }],
  ['splice', (editor, target, args) => {
    const { length } = target
    const relative = toInteger(args[0])
    const start = relative < 0 ? Math.max(length + relative, 0) : Math.min(relative, length)
    const deleteCount = args.length === 0 ? 0 : args.length === 1 ? length : Math.max(toInteger(args[1]), 0)
    return editor.splice(target, start, deleteCount, args.slice(2))
  }],
  ['sort', (editor, target, [compare]) => editor.reorder(target, drafts => drafts.sort(compare))],
  ['reverse', (editor, target) => editor.reorder(target, drafts => drafts.reverse())]
])

function toInteger (value: unknown): number {
  return Math.trunc(Number(value)) || 0
}
