import type { Item, Value } from './peer.js'

/** An event of 97 bytes of JSON, another one each time. */
export function smallEvent (n: number): object {
  return { id: 1_000_000 + n % 8_000_000, symbol: 'EURUSD', bid: '1.08421', ask: '1.08437', at: 1_700_000_000_000, venue: 'XET' }
}

/** About 8 KB of JSON. */
export function largeEvent (n: number): object {
  return { id: n, records: items(70) }
}

export function items (count: number): Item[] {
  return Array.from({ length: count }, (_, id) => ({ id, name: `record number ${id} of the state`, email: `someone.${id}@example.com`, score: 0, seen: 0, active: id % 2 === 0 }))
}

/** What `makeValue` has become by `update` or `replace` number 1 to `count`, which change one record after the other. */
export function valueAfter (records: number, count: number): Value {
  const value = makeValue(records)
  for (let n = Math.max(1, count - records + 1); n <= count; n++) {
    const record = value.records[n % records]!
    record.score = n
    record.seen = n
  }
  return value
}

/** 1,000 are 118 KB. */
export function makeValue (records: number): Value {
  return { records: items(records) }
}
