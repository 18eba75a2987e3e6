import { type PointerEvent, type ReactNode, useRef, useState } from 'react'
import { useClient, useEvent, useLive } from './hooks.ts'

interface Place { x: number, y: number }

/** Minimum interval in ms between two sent positions. */
const INTERVAL = 50

/** Shows the pointers of other people. Positions are events, because the next one replaces a lost one. */
export function Cursors ({ children }: { children: ReactNode }) {
  const client = useClient()
  const { value: people = {} } = useLive('people')
  const [places, setPlaces] = useState<Record<string, Place>>({})
  const sent = useRef(0)

  useEvent('cursor', ({ data: { id, x, y } }) => {
    if (id !== client.connectionId) setPlaces((places) => ({ ...places, [id]: { x, y } }))
  })

  const point = (event: PointerEvent): void => {
    if (event.timeStamp - sent.current < INTERVAL || client.getConnectionState() !== 'connected') return
    sent.current = event.timeStamp
    const { left, top, width, height } = event.currentTarget.getBoundingClientRect()
    const fraction = (value: number): number => Math.min(Math.max(value, 0), 1)
    client.emit('cursor', { x: fraction((event.clientX - left) / width), y: fraction((event.clientY - top) / height) })
  }

  return (
    <div className='desk' onPointerMove={point}>
      {children}
      {Object.entries(places).map(([id, { x, y }]) => {
        const person = people[id] // undefined after the person has left
        return person && <i key={id} className='cursor' style={{ '--hue': person.hue, left: `${x * 100}%`, top: `${y * 100}%` } as object}><b>{person.name}</b></i>
      })}
    </div>
  )
}
