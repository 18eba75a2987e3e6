import type { Card } from './board-contract.js'

export type { Card }

/** The columns, for the page: a value import from the contract would bundle the schemas. */
export const COLUMNS: Array<Card['column']> = ['Ideas', 'Doing', 'Done']
