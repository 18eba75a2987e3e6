import type { Card } from './board-contract.js'

export type { Card }

/** The columns. They are not in the contract's file, because importing a value from it would bundle the schemas. */
export const COLUMNS: Array<Card['column']> = ['Ideas', 'Doing', 'Done']
