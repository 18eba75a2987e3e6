import { type DragEvent, type FormEvent, type KeyboardEvent, useState } from 'react'
import { COLUMNS, type Card } from './board-columns.ts'
import { useChannel } from './hooks.ts'

type Column = Card['column']

/** The cards are a channel. A change applies at once, and is applied again if others wrote first. */
export function Board () {
  const { value: cards = [], status, error, update } = useChannel('cards')
  const [dragged, setDragged] = useState<string>()
  if (status === 'denied') return <p role='alert'>{error?.message}</p>

  const add = (column: Column, text: string): void => {
    update((cards) => { cards!.push({ id: crypto.randomUUID(), text, column }) })
  }
  /** Moves a card. @param before the id of the card to insert it before; undefined for the end */
  const move = (id: string, column: Column, before?: string): void => {
    update((cards) => {
      const from = cards!.findIndex((card) => card.id === id)
      if (from === -1 || id === before) return // someone has removed the card
      const [card] = cards!.splice(from, 1)
      const to = cards!.findIndex((card) => card.id === before)
      cards!.splice(to === -1 ? cards!.length : to, 0, { ...card!, column })
    })
  }
  const remove = (id: string): void => {
    update((cards) => { cards!.splice(0, cards!.length, ...cards!.filter((card) => card.id !== id)) })
  }
  const step = (card: Card, by: number): void => {
    const column = COLUMNS[COLUMNS.indexOf(card.column) + by]
    if (column !== undefined) move(card.id, column)
  }
  const drop = (event: DragEvent, column: Column, before?: string): void => {
    event.preventDefault()
    event.stopPropagation()
    if (dragged !== undefined) move(dragged, column, before)
    setDragged(undefined)
  }
  const keys = (event: KeyboardEvent, card: Card): void => {
    if (event.key === 'ArrowLeft') step(card, -1)
    else if (event.key === 'ArrowRight') step(card, 1)
    else if (event.key === 'Delete') remove(card.id)
  }

  return (
    <main data-status={status}>
      {COLUMNS.map((column) => {
        const own = cards.filter((card) => card.column === column)
        return (
          <section key={column} aria-label={column} onDragOver={(event) => { event.preventDefault() }} onDrop={(event) => { drop(event, column) }}>
            <h2>{column} <small>{own.length}</small></h2>
            <ul>
              {own.map((card) => (
                <li
                  key={card.id} tabIndex={0} draggable
                  className={card.id === dragged ? 'dragged' : undefined}
                  onDragStart={() => { setDragged(card.id) }}
                  onDragEnd={() => { setDragged(undefined) }}
                  onDrop={(event) => { drop(event, column, card.id) }}
                  onKeyDown={(event) => { keys(event, card) }}
                >
                  {card.text}
                  <button type='button' aria-label={`Remove ${card.text}`} onClick={() => { remove(card.id) }}>×</button>
                </li>
              ))}
            </ul>
            <NewCard column={column} onAdd={(text) => { add(column, text) }} />
          </section>
        )
      })}
    </main>
  )
}

function NewCard ({ column, onAdd }: { column: Column, onAdd: (text: string) => void }) {
  const [text, setText] = useState('')
  const submit = (event: FormEvent): void => {
    event.preventDefault()
    if (text.trim() === '') return
    onAdd(text.trim())
    setText('')
  }
  return (
    <form onSubmit={submit}>
      <input value={text} maxLength={140} placeholder='Add a card' aria-label={`Add a card to ${column}`} onChange={(event) => { setText(event.target.value) }} />
    </form>
  )
}
