/** Of about 100 bytes of JSON. */
export interface BenchRecord { id: number, name: string, email: string, value: number, active: boolean }

export function records (count: number): BenchRecord[] {
  return Array.from({ length: count }, (_, id) => ({ id, name: `record number ${id}`, email: `someone.${id}@example.com`, value: 0, active: id % 2 === 0 }))
}

/** The same, as the members of one object. */
export function members (count: number): Record<string, BenchRecord> {
  return Object.fromEntries(records(count).map((record) => [`r${record.id}`, record]))
}
