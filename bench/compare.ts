import { Subject } from './subject.js'

export interface Figure {
  name: string
  unit: string
  /** Medians. */
  ours: number
  theirs: number
  /** Of the rounds, each ours beside theirs: quartiles. */
  ratio: [low: number, median: number, high: number]
  target: string
}

/** Pairs of rounds: short, so that a machine that slows down slows both. */
export const ROUNDS = 11

/** ms */
export const WARM_UP = 1500

export interface Comparison {
  connections: number
  /** One round: the cost of one operation, in CPU time of the server (µs). */
  measure: (subject: Subject) => Promise<number>
  prepare?: (subject: Subject) => Promise<void>
}

/** datasole, bare ws, datasole, bare ws … */
export async function compare ({ connections, measure, prepare }: Comparison): Promise<Pick<Figure, 'ours' | 'theirs' | 'ratio'>> {
  const datasole = await new Subject('datasole').start()
  const ws = await new Subject('ws').start()
  try {
    for (const subject of [datasole, ws]) {
      await subject.connect(connections)
      await prepare?.(subject)
    }
    const ours: number[] = []
    const theirs: number[] = []
    for (const subject of [datasole, ws]) {
      // until its hot path is compiled
      for (const end = performance.now() + WARM_UP; performance.now() < end;) await measure(subject)
    }
    for (let round = 0; round < ROUNDS; round++) {
      ours.push(await measure(datasole))
      theirs.push(await measure(ws))
    }
    const ratios = ours.map((cost, round) => cost / theirs[round]!)
    return { ours: quantile(ours, 0.5), theirs: quantile(theirs, 0.5), ratio: [quantile(ratios, 0.25), quantile(ratios, 0.5), quantile(ratios, 0.75)] }
  } finally {
    await datasole.stop()
    await ws.stop()
  }
}

export function quantile (values: number[], q: number): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length * q)]!
}
