interface Card { id: number, doneAt?: number }
export interface CardBoard { todo: Card[], done: Card[], index: Record<string, number[]>, fresh?: { a?: number } }

export const cardBoard: CardBoard = { todo: [{ id: 1 }, { id: 2 }, { id: 3 }], done: [], index: {} }

/** Edits what it has moved or assigned, through each of its names. */
export function movingRecipe (board: CardBoard): void {
  const [card] = board.todo.splice(0, 1)
  board.done.push(card!)
  card!.doneAt = 5
  for (const { id } of board.done) (board.index[id] ??= []).push(id)
  const fresh: { a?: number } = board.fresh = {}
  fresh.a = 1
  board.todo = board.todo.filter(({ id }) => id !== 3)
  board.todo[0]!.doneAt = 6
}

export const movedBoard: CardBoard = { todo: [{ id: 2, doneAt: 6 }], done: [{ id: 1, doneAt: 5 }], index: { 1: [1] }, fresh: { a: 1 } }
