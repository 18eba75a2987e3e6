/** About 100 bytes of JSON each. */
export function records (count: number): object[] {
  return Array.from({ length: count }, (_, id) => ({ id, name: `record number ${id}`, email: `someone.${id}@example.com`, value: 0, active: id % 2 === 0 }))
}
